"""`init` makes a workspace that works at once, and touches nothing that is there."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autoscorer import templates
from autoscorer.schemas.job import JobSpec
from autoscorer.templates import task_names, write_template
from autoscorer.utils.errors import AutoscorerError, Blame
from tests.examples.test_programs import coco_map


def refused(task: str, target: Path) -> AutoscorerError:
    with pytest.raises(AutoscorerError) as caught:
        write_template(task, target)
    assert caught.value.code == "CONFIG_VALIDATION_ERROR"
    assert caught.value.cause == "workspace"
    assert caught.value.blame is Blame.ORGANISER
    assert str(target.parent) not in caught.value.message
    return caught.value


def run_starter(workspace: Path) -> Path:
    """Run the workspace's program with the standard library only; returns the output folder."""
    subprocess.run(
        [sys.executable, "-I", "-S", "input/predict.py"], cwd=workspace, check=True, timeout=60, env={}
    )
    return workspace / "output"


def test_there_is_a_template_for_each_kind_of_built_in_scorer() -> None:
    assert task_names() == ["classification", "detection", "regression"]


@pytest.mark.parametrize("task", task_names())
def test_a_template_is_a_workspace_with_a_valid_specification(task: str, tmp_path: Path) -> None:
    written = write_template(task, tmp_path / "demo")
    assert written == sorted(path for path in (tmp_path / "demo").rglob("*") if path.is_file())
    names = {str(path.relative_to(tmp_path / "demo")) for path in written}
    assert {"README.md", "meta.json", "input/predict.py"} < names
    assert names & {"reference/gt.csv", "reference/gt.json"}
    spec = JobSpec.parse((tmp_path / "demo/meta.json").read_bytes())
    assert (spec.job_id, spec.task_type) == ("demo", task)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_starter_program_answers_every_id_of_the_reference(task: str, tmp_path: Path) -> None:
    write_template(task, tmp_path / "demo")
    output = run_starter(tmp_path / "demo")
    delivered, truth = (
        [row["id"] for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())]
        for path in (output / "pred.csv", tmp_path / "demo/reference/gt.csv")
    )
    assert delivered == truth


def test_the_detection_starter_scores_above_nothing_and_below_perfect(tmp_path: Path) -> None:
    write_template("detection", tmp_path / "demo")
    output = run_starter(tmp_path / "demo")
    score = coco_map(tmp_path / "demo/reference/gt.json", output / "pred.json")
    assert f"mAP {score:.4f}" in (tmp_path / "demo/README.md").read_text(encoding="utf-8")
    assert 0 < score < 0.98
    boxes = json.loads((output / "pred.json").read_bytes())
    assert len({box["score"] for box in boxes}) == len(boxes)


def test_the_starters_score_what_their_readmes_say(tmp_path: Path) -> None:
    # classification: 4 of 8 are apples, all are called so: precision 1/2, F1 2/3; over 3 labels 2/9.
    write_template("classification", tmp_path / "fruit")
    assert "f1_macro 0.2222" in (tmp_path / "fruit/README.md").read_text(encoding="utf-8")
    labels = [line.split(",")[1] for line in (tmp_path / "fruit/reference/gt.csv").read_text().split()[1:]]
    assert (labels.count("apple"), len(labels), len(set(labels))) == (4, 8, 3)
    # regression: the mean of the training rents is 967; errors are measured against it.
    write_template("regression", tmp_path / "rents")
    rents = [
        int(line.split(",")[1]) for line in (tmp_path / "rents/reference/gt.csv").read_text().split()[1:]
    ]
    rmse = (sum((rent - 967) ** 2 for rent in rents) / len(rents)) ** 0.5
    assert f"rmse {rmse:.4f}" in (tmp_path / "rents/README.md").read_text(encoding="utf-8")
    assert "967.000" in (run_starter(tmp_path / "rents") / "pred.csv").read_text()


@pytest.mark.parametrize(
    ("folder", "job_id"),
    [
        ("My Contest (2025)", "My-Contest-2025"),
        ("水果 v1.2", "v1.2"),
        ("竞赛", "classification"),  # no letter a job id may have: the task's name
        (".hidden_", "hidden"),
        ("a" * 200, "a" * 128),
    ],
)
def test_the_job_id_comes_from_the_folders_name(folder: str, job_id: str, tmp_path: Path) -> None:
    write_template("classification", tmp_path / folder)
    assert JobSpec.parse((tmp_path / folder / "meta.json").read_bytes()).job_id == job_id


def test_missing_parents_are_made(tmp_path: Path) -> None:
    write_template("regression", tmp_path / "a/b/demo")
    assert (tmp_path / "a/b/demo/meta.json").is_file()


def test_the_current_folder_is_filled_when_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    before = here.stat().st_ino
    write_template("classification", Path())
    assert here.stat().st_ino == before  # a shell that stands in it stays in it
    assert sorted(path.name for path in here.iterdir()) == ["README.md", "input", "meta.json", "reference"]
    assert JobSpec.parse((here / "meta.json").read_bytes()).job_id == "here"


def test_a_folder_with_anything_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/notes.txt").write_text("mine")
    assert "demo is not empty" in refused("classification", tmp_path / "demo").message
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["notes.txt"]


def test_a_file_in_the_way_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("mine")
    refused("classification", tmp_path / "demo")
    assert (tmp_path / "demo").read_text() == "mine"
    refused("classification", tmp_path / "demo/below")


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    refused("classification", tmp_path / "loop")


@pytest.mark.parametrize("exists", [False, True])
def test_a_failure_half_way_leaves_nothing_behind(
    exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "demo"
    if exists:
        target.mkdir()
    monkeypatch.setattr(templates, "write_json", no_space)
    assert "No space left" in refused("classification", target).message
    assert list(tmp_path.rglob("*")) == ([target] if exists else [])


def test_an_unknown_task_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    message = refused("clasification", tmp_path / "demo").message
    assert "did you mean 'classification'?" in message
    assert "Known: classification, detection, regression" in message
    assert "did you mean" not in refused("poetry", tmp_path / "demo").message
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("task", ["", ".", "..", "../templates/classification", "classification/input"])
def test_a_task_is_a_name_and_never_a_path(task: str, tmp_path: Path) -> None:
    refused(task, tmp_path / "demo")


def test_byte_code_left_by_an_installer_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(templates.__file__).parent / "regression", tmp_path / "store/regression")
    cache = tmp_path / "store/regression/input/__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "predict.cpython-311.pyc").write_bytes(b"")
    monkeypatch.setattr(templates, "_FOLDER", tmp_path / "store")
    written = write_template("regression", tmp_path / "demo")
    assert not [path for path in written if "__pycache__" in path.parts]
    assert not (tmp_path / "demo/input/__pycache__").exists()
