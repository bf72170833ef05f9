"""`scorers new` writes a scorer that keeps every contract as it stands, and never writes over anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autoscorer.templates.scorers import task_names, write_scorer
from autoscorer.testing import contracts_for
from autoscorer.utils.errors import AutoscorerError
from tests.cli import call, environment
from tests.testing.mutants import Sound

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them


def refused(name: str, task: str, folder: Path) -> str:
    with pytest.raises(AutoscorerError) as caught:
        write_scorer(name, task, folder)
    assert (caught.value.code, caught.value.cause) == ("CONFIG_VALIDATION_ERROR", "workspace")
    assert str(folder.parent) not in caught.value.message
    return caught.value.message


def run_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_there_is_a_scorer_for_each_task_that_init_knows() -> None:
    assert set(task_names()) >= {"classification", "detection", "regression"}


@pytest.mark.slow
def test_what_is_written_keeps_every_contract_as_it_stands(tmp_path: Path) -> None:
    for task in task_names():
        scorer, test = write_scorer(f"new_{task}", task, tmp_path)
        assert (scorer.name, test.name) == (f"new_{task}.py", f"test_new_{task}.py")
    done = run_in(tmp_path, "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert f"{len(contracts_for(Sound())) * len(task_names())} passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("task", task_names())
def test_what_is_written_is_as_well_formed_as_the_rest(task: str, tmp_path: Path) -> None:
    write_scorer("my_new_metric", task, tmp_path)
    text = (tmp_path / "my_new_metric.py").read_text()
    assert "class MyNewMetric(BaseScorer):" in text
    assert "my_scorer" not in text + (tmp_path / "test_my_new_metric.py").read_text()
    assert len(text.splitlines()) < 80
    for check in (("check", "--select", "E,F,I,N,UP,B"), ("format", "--check")):
        # As in a folder of the author's, where AutoScorer is a library and the scorer their own.
        done = run_in(tmp_path, "ruff", *check, "--isolated", "--line-length", "110", "--no-cache", ".")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("there", ["mine.py", "test_mine.py"])
def test_nothing_is_written_over(there: str, tmp_path: Path) -> None:
    (tmp_path / there).write_text("precious")
    assert f"{there} is there already" in refused("mine", "regression", tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "precious")]


def test_a_link_to_nowhere_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "mine.py").symlink_to(tmp_path / "elsewhere.py")
    refused("mine", "regression", tmp_path)
    assert not (tmp_path / "elsewhere.py").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is no name"),
        ("My", "is no name"),
        ("my-metric", "is no name"),
        ("../mine", "is no name"),
        ("2nd", "is no name"),
        ("class", "is no name"),
        ("m" * 65, "is no name"),
        ("指标", "is no name"),
        ("mine\n", "is no name"),
        ("test_mine", "is a test"),
        ("json", "is a Python module already"),
        ("numpy", "is a Python module already"),
        ("autoscorer", "is a Python module already"),
    ],
)
def test_a_name_that_cannot_be_a_module_of_its_own_is_refused(name: str, why: str, tmp_path: Path) -> None:
    assert why in refused(name, "regression", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("task", ["", ".", "..", "../scorers/regression", "clasification"])
def test_a_task_is_a_known_name_and_never_a_path(task: str, tmp_path: Path) -> None:
    assert "Known: classification, " in refused("mine", task, tmp_path / "new")


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file/ cannot be written" in refused("mine", "regression", tmp_path / "file")


def test_the_command_writes_into_a_new_folder_and_says_what_comes_next(tmp_path: Path) -> None:
    answer = call("scorers", "new", "mine", "--task", "regression", "--dir", tmp_path / "a" / "b").answer
    assert [Path(name).name for name in answer["data"]["files"]] == ["mine.py", "test_mine.py"]
    assert all(Path(name).is_file() for name in answer["data"]["files"])


def test_the_command_refuses_the_name_of_a_scorer_that_is_there(tmp_path: Path) -> None:
    for name in ("classification_f1", "classification_acc"):  # a name and an alias
        called = call("scorers", "new", name, "--dir", tmp_path)
        assert (called.exit_code, called.error["code"]) == (1, "CONFIG_VALIDATION_ERROR")
        assert "choose another name" in called.error["message"]
    assert list(tmp_path.iterdir()) == []


def test_the_command_knows_its_tasks(tmp_path: Path) -> None:
    called = call("scorers", "new", "mine", "--task", "poetry", "--dir", tmp_path)
    assert called.exit_code == 2
    assert "known: classification, " in called.stderr
