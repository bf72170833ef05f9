"""Whole jobs on a real cluster: the scores are those of Docker, also when the controller is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from autoscorer.executor.k8s.client import connect
from autoscorer.executor.k8s.jobs import BATCH, remove_job
from autoscorer.executor.k8s.naming import ANNOTATION_JOB
from tests.cli import call
from tests.executor.attempts import eventually
from tests.executor.k8s.conftest import claim_here
from tests.executor.k8s.pods import PYTHON, left, settings, variables
from tests.schemas.test_job import REFERENCE_EXAMPLE
from tests.workspaces import ROOT

__all__ = ["claim_here"]
pytestmark = [pytest.mark.k8s, pytest.mark.slow]
SMALL = {"cpu": 0.1, "memory": "64Mi", "gpus": 0}


@pytest.fixture(autouse=True)
def _on_the_test_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables().items():
        monkeypatch.setenv(name, value)


def workspace_of(folder: Path, name: str) -> Path:
    workspace = folder / name
    if name == "J2":
        (workspace / "input").mkdir(parents=True)
        (workspace / "input" / "gt.csv").write_text("id,label\n1,cat\n2,dog\n")
        (workspace / "meta.json").write_text(REFERENCE_EXAMPLE)
    else:
        shutil.copytree(ROOT / "examples" / name, workspace, ignore=shutil.ignore_patterns("output", "logs"))
    return workspace


def digest(workspace: Path, backend: str) -> str:
    called = call("pipeline", workspace, "--backend", backend)
    assert called.exit_code == 0, called.stdout
    versioning = called.answer["data"]["result"]["versioning"]
    assert versioning["backend"] == backend
    return str(versioning["score_digest"])


@pytest.mark.docker
@pytest.mark.parametrize("transport", ["stream", "bind"])
@pytest.mark.parametrize("name", ["classification", "classification-acc", "regression", "detection", "J2"])
def test_kubernetes_and_docker_give_one_digest(
    tmp_path: Path,
    name: str,
    transport: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if transport == "bind":
        for key, value in request.getfixturevalue("claim_here").items():
            monkeypatch.setenv(key, value)
    workspace = workspace_of(tmp_path, name)
    assert digest(workspace, "k8s") == digest(workspace, "docker")


def test_auto_is_kubernetes_where_it_is_enabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_ENABLED", "true")
    called = call("pipeline", workspace_of(tmp_path, "J2"))
    assert called.answer["data"]["result"]["versioning"]["backend"] == "k8s"


STREAMED = 2**16  # more than goes with a Job itself


def small_job(folder: Path, *, seconds: float = 0.0, more_bytes: int = 0) -> Path:
    (folder / "input").mkdir(parents=True)
    (folder / "reference").mkdir()
    (folder / "reference" / "gt.csv").write_text("id,label\n1,cat\n2,dog\n")
    (folder / "input" / "data.csv").write_text("id\n1\n2\n")
    (folder / "input" / "more").write_bytes(bytes(more_bytes))
    program = (
        f"import time; time.sleep({seconds}); "
        "open('output/pred.csv', 'w').write('id,label\\n1,cat\\n2,dog\\n')"
    )
    spec = {
        "job_id": f"job-{uuid.uuid4().hex}",
        "task_type": "classification",
        "scorer": "classification_f1",
        "time_limit": 60,
        "resources": SMALL,
        "container": {"image": PYTHON, "cmd": ["python", "-c", program]},
    }
    (folder / "meta.json").write_text(json.dumps(spec))
    return folder


def test_twenty_jobs_at_once_end_right(tmp_path: Path) -> None:
    workspaces = [small_job(tmp_path / str(n), more_bytes=n % 2 * STREAMED) for n in range(20)]
    with ThreadPoolExecutor(20) as pool:
        codes = list(pool.map(lambda workspace: controller(workspace).wait(), workspaces))
    results = [json.loads((path / "output" / "result.json").read_text()) for path in workspaces]
    assert codes == [0] * 20, results
    assert [row["summary"]["score"] for row in results] == [1.0] * 20


def controller(workspace: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "autoscorer.cli",
        "pipeline",
        str(workspace),
        "--backend",
        "k8s",
        "--json",
    ]
    quiet: Any = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, env=dict(os.environ))


STEPS = ["nothing yet", "job_created", "execution_started", "execution_completed", "scoring_started"]


MOMENTS = [*STEPS, *(f"after {n / 4:.2f} s" for n in range(15))]


@pytest.mark.parametrize("step", MOMENTS)
def test_a_controller_killed_on_the_way_leaves_one_result_and_nothing_else(tmp_path: Path, step: str) -> None:
    streamed = MOMENTS.index(step) % 2 * STREAMED  # every other brings its data in by a connection
    workspace = small_job(tmp_path / "ws", seconds=1.0, more_bytes=streamed)
    first = controller(workspace)
    if step.startswith("after"):
        time.sleep(float(step.split()[1]))  # a moment nobody chose is what is tried
    elif step != "nothing yet":
        assert eventually(lambda: step in events(workspace) or first.poll() is not None)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = jobs_of(workspace)
    assert len(before) <= 1
    second = controller(workspace)
    seen = before
    while second.poll() is None:
        now = jobs_of(workspace)
        assert len(now) <= 1
        seen |= now
        time.sleep(0.1)
    assert second.returncode == 0
    if step in ("job_created", "execution_started"):  # later it may have been on its way out
        assert before == seen, "the Job that stood there was not taken up"
    result = json.loads((workspace / "output" / "result.json").read_text())
    assert result["summary"]["score"] == 1.0
    assert eventually(lambda: jobs_of(workspace) == set())
    # What stood in output/ before is kept where it was moved to; nothing else is.
    kept = {path.name for path in (workspace / ".attempts").glob("*/*")}
    assert kept <= {"previous_output"}


def events(workspace: Path) -> list[str]:
    path = workspace / "logs" / "job.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["event"] for line in lines if line.endswith("}")]


def jobs_of(workspace: Path) -> set[str]:
    """The Jobs of a workspace's job, by uid."""
    return {str(row["metadata"]["uid"]) for row in rows_of(workspace)}


def rows_of(workspace: Path) -> list[dict[str, Any]]:
    job_id = json.loads((workspace / "meta.json").read_text())["job_id"]
    with connect(settings(workspace)) as cluster:
        found = cluster.call("GET", cluster.path("jobs", group=BATCH))["items"]
    return [row for row in found if row["metadata"]["annotations"].get(ANNOTATION_JOB) == job_id]


def test_clean_removes_what_a_killed_run_left_and_nothing_else(tmp_path: Path) -> None:
    """A run of another test at the same time sweeps as well, and may come first; then once more."""
    assert any(is_removed_by_clean(tmp_path / str(number)) for number in range(4))


def is_removed_by_clean(folder: Path) -> bool:
    """Whether `clean` told that it removed the Job of a run that was killed, and not while it was alive."""
    workspace = small_job(folder / "ws", seconds=600)
    first = controller(workspace)
    assert eventually(lambda: "execution_started" in events(workspace))
    name = rows_of(workspace)[0]["metadata"]["name"]
    with connect(settings(folder)) as cluster:
        try:
            call("clean", "--backend", "k8s")
            assert left(cluster, name) != []
            first.kill()
            first.wait()
            removed = call("clean", "--backend", "k8s").answer["data"]["removed"]
            assert eventually(lambda: left(cluster, name) == [])
            return {"kind": "job", "name": name} in removed
        finally:
            first.kill()
            first.wait()
            remove_job(cluster, name, if_of=lambda _owner: True)
