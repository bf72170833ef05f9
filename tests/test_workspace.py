"""The folder contract: structure faults, the lock, attempts, URIs that stay inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autoscorer import staging
from autoscorer.claims import claim
from autoscorer.schemas.job import JobSpec
from autoscorer.utils.errors import AutoscorerError
from autoscorer.workspace import Glimpse, Workspace

SPEC: dict[str, Any] = {"job_id": "a", "task_type": "t", "scorer": "classification_f1"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "ws"
    for name in ("input", "reference"):
        (root / name).mkdir(parents=True)
    (root / "meta.json").write_text(json.dumps(SPEC))
    return Workspace.open(root)


def faults(error: AutoscorerError) -> list[str]:
    assert error.code == "CONFIG_VALIDATION_ERROR"
    return [fault["field"] for fault in error.details["faults"]]


@pytest.mark.parametrize("name", ["nothing", "file", "a\0b"])
def test_what_is_no_folder_is_no_workspace(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AutoscorerError) as caught:
        Workspace.open(tmp_path / name)
    assert caught.value.blame == "organiser"


@pytest.mark.parametrize("name", ["output", "logs", ".attempts"])
def test_a_folder_we_write_to_may_not_be_a_link(workspace: Workspace, tmp_path: Path, name: str) -> None:
    (workspace.root / name).symlink_to(tmp_path)
    with pytest.raises(AutoscorerError) as caught, claim(workspace):
        pass
    assert faults(caught.value) == [f"{name}/"]


def test_a_lock_that_is_a_link_is_not_followed(workspace: Workspace, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (workspace.root / ".autoscorer.lock").symlink_to(victim)
    with pytest.raises(AutoscorerError), claim(workspace):
        pass
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "huge", "missing"])
def test_a_meta_json_that_is_no_plain_file_is_named(workspace: Workspace, tmp_path: Path, kind: str) -> None:
    workspace.spec_path.unlink()
    if kind == "link":
        (tmp_path / "elsewhere.json").write_text(json.dumps(SPEC))
        workspace.spec_path.symlink_to(tmp_path / "elsewhere.json")
    elif kind == "pipe":
        os.mkfifo(workspace.spec_path)
    elif kind == "folder":
        workspace.spec_path.mkdir()
    elif kind == "huge":
        with workspace.spec_path.open("wb") as file:
            file.truncate(2**40)
    with pytest.raises(AutoscorerError) as caught:
        workspace.load_spec()
    assert faults(caught.value) == ["meta.json"]


def test_two_processes_never_hold_one_workspace(workspace: Workspace) -> None:
    script = (
        "import sys; from autoscorer.workspace import Workspace; from autoscorer.claims import claim\n"
        "from autoscorer.utils.errors import AutoscorerError\n"
        "try:\n"
        "    with claim(Workspace.open(sys.argv[1])): print('held')\n"
        "except AutoscorerError as exc: print(exc.code, exc.details['pid'])\n"
    )
    command = [sys.executable, "-c", script, str(workspace.root)]

    def other() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with claim(workspace):
        assert other() == f"WORKSPACE_BUSY {os.getpid()}"
    assert other() == "held", "control: free again, the other gets it"


def test_attempts_are_numbered_upwards_even_after_some_are_removed(workspace: Workspace) -> None:
    first, second = workspace.new_attempt(), workspace.new_attempt()
    first.discard()
    assert (second.number, workspace.new_attempt().number) == (2, 3)


def test_publishing_moves_the_former_output_into_the_attempt_and_keeps_it(workspace: Workspace) -> None:
    output = workspace.root / "output"
    output.mkdir()
    (output / "pred.csv").write_text("only copy")
    with claim(workspace) as held:
        attempt = held.new_attempt()
        fresh = attempt.root / "fresh"
        fresh.mkdir()
        (fresh / "pred.csv").write_text("new")
        (attempt.root / "out").mkdir()
        held.publish(attempt, fresh, output)
        attempt.discard()
    assert (output / "pred.csv").read_text() == "new"
    assert [path.name for path in attempt.root.iterdir()] == ["previous_output"]
    assert (attempt.root / "previous_output" / "pred.csv").read_text() == "only copy"


def test_an_attempt_with_nothing_worth_keeping_is_removed_whole(workspace: Workspace) -> None:
    attempt = workspace.new_attempt()
    (attempt.root / "out").mkdir()
    attempt.discard()
    assert not attempt.root.exists()


def spec_with(**uris: str) -> JobSpec:
    return JobSpec.model_validate({**SPEC, **uris})


@pytest.mark.parametrize("uri", ["file://./input", "file://input", "file://./data/../input"])
def test_an_input_inside_the_workspace_is_found(workspace: Workspace, uri: str) -> None:
    (workspace.root / "data").mkdir()
    found = staging.input_dir(workspace, spec_with(input_uri=uri), shared_root=None)
    assert found == workspace.root / "input"


def test_an_absolute_input_is_fine_below_the_shared_root_only(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "shared" / "set1").mkdir(parents=True)
    spec = spec_with(input_uri=f"file://{tmp_path}/shared/set1")
    assert staging.input_dir(workspace, spec, shared_root=tmp_path / "shared").name == "set1"
    with pytest.raises(AutoscorerError, match="leads out of the workspace"):
        staging.input_dir(workspace, spec, shared_root=None)


@pytest.mark.parametrize(
    ("uri", "word"),
    [
        ("file://..", "leads out"),
        ("file://./input/../../other", "leads out"),
        ("file://%2e%2e/other", "leads out"),
        ("file:///etc", "leads out"),
        ("file://.", "leads out"),
        ("file://", "names no path"),
        ("file://a%00b", "names no path"),
        ("input", "scheme 'none'"),
        ("s3://bucket/key", "scheme 's3'"),
        ("http://127.0.0.1/x", "scheme 'http'"),
        ("FILE://./input", "scheme 'FILE'"),
        ("file://./reference", "overlaps reference/"),
        ("file://./reference/sub", "overlaps reference/"),
        ("file://./output", "overlaps output/"),
        ("file://./.attempts", "overlaps .attempts/"),
        ("file://./logs", "overlaps logs/"),
        ("file://./nowhere", "is not a folder"),
        ("file://./meta.json", "is not a folder"),
    ],
)
def test_an_input_that_is_elsewhere_or_shows_the_truth_is_refused(
    workspace: Workspace, uri: str, word: str
) -> None:
    with pytest.raises(AutoscorerError, match=word) as caught:
        staging.input_dir(workspace, spec_with(input_uri=uri), shared_root=None)
    assert "input_uri" in faults(caught.value)


def test_a_linked_input_that_leads_to_the_truth_is_refused(workspace: Workspace) -> None:
    (workspace.root / "data").symlink_to("reference")
    with pytest.raises(AutoscorerError, match="overlaps reference/"):
        staging.input_dir(workspace, spec_with(input_uri="file://./data"), shared_root=None)


@pytest.mark.parametrize("uri", ["file://..", "file:///tmp/x", "file://./reference", "file://./input/x"])
def test_an_output_stays_in_the_workspace_and_apart(workspace: Workspace, uri: str) -> None:
    with pytest.raises(AutoscorerError) as caught:
        staging.output_dir(workspace, spec_with(output_uri=uri))
    assert faults(caught.value) == ["output_uri"]


@pytest.mark.parametrize("linked", ["reference", "input", "logs", "meta.json"])
def test_an_output_that_a_link_makes_part_of_something_else_is_refused(
    workspace: Workspace, linked: str
) -> None:
    assert (
        staging.output_dir(workspace, spec_with()) == workspace.root / "output"
    )  # control: without the link
    (workspace.root / "output").mkdir()
    if (workspace.root / linked).is_dir():
        (workspace.root / linked).rmdir()
    (workspace.root / linked).unlink(missing_ok=True)
    (workspace.root / linked).symlink_to("output")
    with pytest.raises(AutoscorerError, match="overlaps"):
        staging.output_dir(workspace, spec_with())


@pytest.mark.parametrize("kind", ["file", "link to a file", "link out"])
def test_an_output_that_is_no_folder_here_is_refused(workspace: Workspace, kind: str) -> None:
    output = workspace.root / "output"
    if kind == "file":
        output.touch()
    else:
        output.symlink_to("meta.json" if kind == "link to a file" else "..")
    with pytest.raises(AutoscorerError) as caught:
        staging.output_dir(workspace, spec_with())
    assert faults(caught.value) == ["output_uri"]


@pytest.mark.parametrize("whole", [False, True], ids=["a file", "the folder"])
def test_truth_that_links_into_what_is_shown_is_exposed(workspace: Workspace, whole: bool) -> None:
    (workspace.root / "reference" / "gt.csv").write_text("id,label")
    assert workspace.exposed_truth(workspace.root / "input") == []  # control
    (workspace.root / "input" / "answers.csv").touch()
    (workspace.root / "reference" / "gt.csv").unlink()
    if whole:
        (workspace.root / "reference").rmdir()
        (workspace.root / "reference").symlink_to("input")
    else:
        (workspace.root / "reference" / "answers.csv").symlink_to("../input/answers.csv")
    assert workspace.exposed_truth(workspace.root / "input") == ["reference/answers.csv"]


def test_a_glimpse_stays_as_it_was_and_a_workspace_does_not(workspace: Workspace) -> None:
    glimpse = Glimpse(workspace.root)
    assert "output" not in glimpse.layout()
    (workspace.root / "output").mkdir()
    assert ("output" in glimpse.layout(), "output" in workspace.layout()) == (False, True)
