"""What a program or a delivered workspace tries against the platform: never its fault, never a hang."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoscorer.utils.artifacts import remove_tree
from tests.cli import call, command, environment
from tests.workspaces import MakeWorkspace

pytestmark = [pytest.mark.slow]

PERFECT = "id,label\n1,cat\n2,dog\n"
GOOD = "open('output/pred.csv', 'w').write('id,label\\n1,cat\\n2,dog\\n')"
LONG_PATH = (
    f"{GOOD}\nimport os\nos.chdir('output')\nfor _ in range(18): os.mkdir('a' * 250); os.chdir('a' * 250)"
)
PLANTED = (
    f"{GOOD}\nimport os\nos.makedirs('output/a/b/c')\n"
    "for n in range(99): os.makedirs(f'output/.removed-1-{n}/x/y')"
)


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("program", "code"),
    [
        (LONG_PATH, "OUTPUT_INVALID"),
        (PLANTED, None),
        (f"{GOOD}\nimport os; os.chmod('output', 0)", "OUTPUT_INVALID"),
        (f"{GOOD}\nimport os; os.mkdir('output/x', 0)", "OUTPUT_INVALID"),
        (f"{GOOD}\nimport os; os.makedirs('output/result.json/x')", None),
        (f"{GOOD}\nimport os; os.makedirs('output/artifacts/x')", None),
    ],
    ids=["long path", "planted names", "closed output", "closed folder", "result.json/", "artifacts/"],
)
def test_nothing_a_program_writes_is_the_platforms_fault(
    make_workspace: MakeWorkspace, program: str, code: str | None
) -> None:
    workspace = make_workspace(program=program)
    called = call("pipeline", workspace, "--backend", "local")
    if code is None:
        assert called.answer["data"]["result"]["summary"]["score"] == 1.0
    else:
        assert (called.error["code"], called.error["details"]["blame"]) == (code, "participant")
    assert list((workspace / ".attempts").iterdir()) == [], "the attempt is gone"


def as_nobody(act: Callable[[], None]) -> None:
    """Run ``act`` in a child that is user 65534; what it raises fails the test."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            act()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")
def test_a_folder_without_permissions_is_removed_by_its_owner_who_is_not_root(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to("/tmp/") and folder != Path("/tmp"):
            folder.chmod(0o777)

    def act() -> None:
        (tmp_path / "out" / "sub").mkdir(parents=True)
        (tmp_path / "out" / "sub").chmod(0)
        (tmp_path / "out").chmod(0)
        try:
            list((tmp_path / "out").iterdir())
        except PermissionError:  # control: without permission nobody but root gets in
            remove_tree(tmp_path / "out")

    as_nobody(act)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["result.json", "artifacts"])
def test_a_delivered_folder_with_our_name_does_not_stop_a_score(
    make_workspace: MakeWorkspace, name: str
) -> None:
    workspace = make_workspace(predictions=PERFECT)
    (workspace / "output" / name / "sub").mkdir(parents=True)
    assert call("score", workspace).exit_code == 0
    assert (workspace / "output" / "result.json").is_file()


@pytest.mark.sandbox
@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
def test_a_log_is_never_written_through_what_stands_in_its_place(
    make_workspace: MakeWorkspace, tmp_path: Path, kind: str
) -> None:
    workspace, victim = make_workspace(program=f"print('evil'); {GOOD}"), tmp_path / "victim"
    victim.write_text("precious")
    (workspace / "logs").mkdir()
    for name in ("container.log", "run_info.json", "inspect.json"):
        path = workspace / "logs" / name
        if kind == "link":
            path.symlink_to(victim)
        elif kind == "hard link":
            path.hardlink_to(victim)
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            (path / "x").mkdir(parents=True)
    assert call("pipeline", workspace, "--backend", "local").exit_code == 0
    assert victim.read_text() == "precious"
    assert (workspace / "logs" / "container.log").read_text() == "evil\n"


def run_info(workspace: Path, **changes: Any) -> str:
    digest = hashlib.sha256((workspace / "output" / "pred.csv").read_bytes()).hexdigest()
    return json.dumps({"output_sha256": digest, "timing": {}, "resources": {}, "provenance": {}} | changes)


FORGED = {
    "score_digest": "FORGED",
    "scorer_sha256": "FORGED",
    "reference_sha256": "FORGED",
    "scorer": "FORGED",
}


@pytest.mark.parametrize("kind", ["forged", "bare", "deep", "nan", "pipe", "huge"])
def test_a_run_record_in_the_workspace_is_never_simply_believed(
    make_workspace: MakeWorkspace, kind: str
) -> None:
    workspace = make_workspace(predictions=PERFECT)
    (workspace / "logs").mkdir()
    path = workspace / "logs" / "run_info.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(2**40)
    else:
        path.write_text(
            {
                "forged": run_info(workspace, provenance={**FORGED, "backend": "docker"}),
                "bare": run_info(workspace)[:-1].split(",")[0] + "}",
                "deep": "[" * 200_000,
                "nan": run_info(workspace, timing={"run_seconds": float("nan")}),
            }[kind]
        )
    called = call("score", workspace)
    versioning = called.answer["data"]["result"]["versioning"]
    assert "FORGED" not in versioning.values()
    assert ("backend" in versioning) == (kind == "forged"), "control: the record is read"


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "uri", ["file://{root}/B/reference", "file://{root}/B", "file://../B", "file://{root}/all"]
)
def test_another_workspace_below_the_shared_root_is_never_shown(
    make_workspace: MakeWorkspace, tmp_path: Path, uri: str
) -> None:
    root = tmp_path / "root"
    (root / "shared").mkdir(parents=True)
    (root / "shared" / "x").write_text("fine")
    make_workspace(truth="id,label\n1,SECRET\n").rename(root / "B")
    (root / "all" / "teams").mkdir(parents=True)
    make_workspace().rename(root / "all" / "teams" / "C")
    look = "import os; print([open(os.path.join(d, f)).read() for d, _, n in os.walk('input') for f in n])"
    for given, shown in ((uri.format(root=root), False), (f"file://{root}/shared", True)):
        workspace = make_workspace(program=look, spec={"input_uri": given})
        workspace = workspace.rename(root / f"A{shown}")
        called = call("run", workspace, "--backend", "local", env={"WORKSPACE_ROOT": str(root)})
        assert (called.exit_code == 0) is shown, "control: a shared folder that is no workspace is fine"
        if not shown:
            assert called.error["code"] == "CONFIG_VALIDATION_ERROR"


@pytest.mark.parametrize(
    "change",
    [
        {"container": {"image": "x", "cmd": ["\ud800"]}},
        {"container": {"image": "x", "env": {"A": "\ud800"}}},
        {"input_uri": "file://./\udfff"},
        {"\ud800": 1},
        {"input_uri": "file://./" + "a" * 900},
        {"output_uri": "file://./" + "a/" * 400},
        {"output_uri": "file://./meta.json"},
        {"output_uri": "file://./meta.json/x"},
        {"output_uri": "file://./plain"},
        {"output_uri": "file://./plain/below"},
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_a_spec_no_file_system_can_take_is_the_organisers(
    make_workspace: MakeWorkspace, change: dict[str, Any]
) -> None:
    workspace = make_workspace(program="pass", spec=change)
    (workspace / "plain").write_text("a file")
    for arguments in (("validate",), ("run", "--backend", "local")):
        error = call(*arguments, workspace).error
        assert error["code"] == "CONFIG_VALIDATION_ERROR"
        assert error["details"]["blame"] == "organiser"


@pytest.mark.parametrize("kind", ["pipe", "hard link", "odd attempts"])
def test_a_workspace_whose_inner_parts_are_odd_never_hangs_or_harms(
    make_workspace: MakeWorkspace, tmp_path: Path, kind: str
) -> None:
    workspace, victim = make_workspace(predictions=PERFECT), tmp_path / "victim"
    victim.write_text("precious")
    if kind == "pipe":
        os.mkfifo(workspace / ".autoscorer.lock")
    elif kind == "hard link":
        (workspace / ".autoscorer.lock").hardlink_to(victim)
    else:
        (workspace / ".attempts" / ("9" * 250)).mkdir(parents=True)
    called = call("score", workspace)
    assert called.exit_code == (0 if kind == "odd attempts" else 1)
    assert victim.read_text() == "precious"


def test_a_reference_that_is_a_pipe_never_hangs(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(truth=None, predictions=PERFECT)
    os.mkfifo(workspace / "reference" / "gt.csv")
    for name in ("score", "validate"):
        error = call(name, workspace).error
        assert (error["code"], error["details"]["blame"]) == ("BAD_FORMAT", "organiser")


def test_every_kind_of_fault_is_named_at_once(tmp_path: Path) -> None:
    spec = {
        "job_id": "../x",
        "task_type": "t",
        "scorer": "nothing",
        "time_limit": 10**9,
        "input_uri": "file://..",
        "output_uri": "s3://x",
    }
    (tmp_path / "meta.json").write_text(json.dumps(spec))
    text = json.dumps(call("validate", tmp_path).error["details"]["faults"])
    for word in (
        "job_id",
        "output_uri",
        "file://./output",
        "LIMIT_EXCEEDED",
        "SCORER_NOT_FOUND",
        "MISSING_FILE",
    ):
        assert word in text


def test_a_truth_that_the_input_shows_by_a_link_is_warned_of(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(truth=None, spec={"input_uri": "file://./data"})
    (workspace / "data").mkdir()
    (workspace / "data" / "answers.csv").write_text(PERFECT)
    (workspace / "reference" / "gt.csv").symlink_to("../data/answers.csv")
    warned = call("validate", workspace).answer["meta"]["warnings"]
    assert [warning["code"] for warning in warned] == ["GROUND_TRUTH_EXPOSED"]


@pytest.mark.parametrize("encoding", ["latin1", "ascii"])
def test_the_answer_is_utf_8_whatever_the_locale(make_workspace: MakeWorkspace, encoding: str) -> None:
    workspace = make_workspace(truth="id,label\n1,é\n", predictions="id,label\n1,é\n")
    done = subprocess.run(
        command("score", workspace),
        capture_output=True,
        check=True,
        env=environment(PYTHONIOENCODING=encoding),
    )
    assert json.loads(done.stdout.decode("utf-8"))["data"]["result"]["metrics"]["f1_é"] == 1.0


@pytest.mark.parametrize("target", ["closed", "full"])
def test_nobody_listening_is_no_traceback(make_workspace: MakeWorkspace, target: str) -> None:
    workspace = make_workspace(predictions=PERFECT)
    redirect = ">&-" if target == "closed" else ">/dev/full"
    script = " ".join([*command("score", str(workspace)), redirect])
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, env=environment(), check=False
    )
    assert "Traceback" not in done.stderr
    assert (workspace / "output" / "result.json").exists()
