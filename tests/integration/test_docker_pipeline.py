"""The same jobs on Docker as on the local backend: the same scores, under the commands as written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli import call
from tests.schemas.test_job import REFERENCE_EXAMPLE
from tests.workspaces import ROOT, MakeWorkspace

pytestmark = [pytest.mark.docker, pytest.mark.sandbox, pytest.mark.slow]


def digest(workspace: Path, backend: str) -> str:
    called = call("pipeline", workspace, "--backend", backend)
    assert called.exit_code == 0, called.stdout
    versioning = called.answer["data"]["result"]["versioning"]
    assert versioning["backend"] == backend
    return str(versioning["score_digest"])


@pytest.mark.parametrize("name", ["classification", "classification-acc", "regression", "detection", "J2"])
def test_docker_and_the_local_backend_give_one_digest(tmp_path: Path, name: str) -> None:
    workspace = tmp_path / name
    if name == "J2":
        (workspace / "input").mkdir(parents=True)
        (workspace / "input" / "gt.csv").write_text("id,label\n1,cat\n2,dog\n")
        (workspace / "meta.json").write_text(REFERENCE_EXAMPLE)
    else:
        shutil.copytree(ROOT / "examples" / name, workspace, ignore=shutil.ignore_patterns("output", "logs"))
    assert digest(workspace, "docker") == digest(workspace, "local")


def test_the_designs_two_commands_work_as_written(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "classification", tmp_path / "examples" / "classification")
    assert call("validate", "examples/classification", cwd=tmp_path).exit_code == 0
    called = call("pipeline", "examples/classification", "--backend", "docker", cwd=tmp_path)
    assert called.exit_code == 0
    assert (tmp_path / "examples" / "classification" / "output" / "result.json").exists()


def test_auto_is_docker_where_an_engine_answers(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(program="open('output/pred.csv', 'w').write('id,label\\n1,cat\\n2,cat\\n')")
    versioning = call("pipeline", workspace).answer["data"]["result"]["versioning"]
    assert versioning["backend"] == "docker"
    assert versioning["image_digest"].startswith("sha256:")


def test_clean_finds_nothing_after_jobs_that_ended_by_themselves() -> None:
    assert call("clean", "--backend", "docker").answer["data"]["backend"] == "docker"
