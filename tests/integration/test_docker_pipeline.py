"""The same jobs on Docker as on the local backend: the same scores, under the commands as written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli import call
from tests.executor.docker.containers import BUSYBOX
from tests.schemas.test_job import REFERENCE_EXAMPLE
from tests.workspaces import ROOT, MakeWorkspace

pytestmark = [pytest.mark.docker, pytest.mark.sandbox, pytest.mark.slow]


def digest(workspace: Path, backend: str) -> str:
    called = call("pipeline", workspace, "--backend", backend)
    assert called.exit_code == 0, called.stdout
    versioning = called.answer["data"]["result"]["versioning"]
    assert versioning["backend"] == backend
    return str(versioning["score_digest"])


EXAMPLES = pytest.mark.parametrize(
    "name", ["classification", "classification-acc", "regression", "detection", "J2"]
)


def workspace_of(tmp_path: Path, name: str) -> Path:
    workspace = tmp_path / name
    if name == "J2":
        (workspace / "input").mkdir(parents=True)
        (workspace / "input" / "gt.csv").write_text("id,label\n1,cat\n2,dog\n")
        (workspace / "meta.json").write_text(REFERENCE_EXAMPLE)
    else:
        shutil.copytree(ROOT / "examples" / name, workspace, ignore=shutil.ignore_patterns("output", "logs"))
    return workspace


@EXAMPLES
def test_docker_and_the_local_backend_give_one_digest(tmp_path: Path, name: str) -> None:
    workspace = workspace_of(tmp_path, name)
    assert digest(workspace, "docker") == digest(workspace, "local")


@EXAMPLES
def test_data_streamed_and_mounted_give_one_digest(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = workspace_of(tmp_path, name)
    monkeypatch.setenv("DOCKER_HELPER_IMAGE", BUSYBOX)
    monkeypatch.setenv("DOCKER_TRANSPORT", "bind")
    mounted = digest(workspace, "docker")
    monkeypatch.setenv("DOCKER_TRANSPORT", "stream")
    assert digest(workspace, "docker") == mounted
    log = (workspace / "logs" / "job.jsonl").read_text()
    assert '"transport": "stream"' in log or '"transport":"stream"' in log


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
