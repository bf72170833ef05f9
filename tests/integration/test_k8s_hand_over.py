"""A worker that is told to stop leaves its job's program running: one Job, one pod, one result."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoscorer import runtime
from autoscorer.executor import k8s_executor
from autoscorer.executor.k8s import outcomes
from autoscorer.executor.k8s.client import Cluster, connect
from autoscorer.executor.k8s.commands import RemoteCommand
from autoscorer.executor.k8s.jobs import BATCH
from autoscorer.executor.k8s.naming import ANNOTATION_JOB, MAIN, MANAGED_BY, OURS
from autoscorer.maintenance.leftovers import Leftovers
from autoscorer.store.records import Job
from autoscorer.store.sql_store import SqlStore
from autoscorer.store.transitions import JobState
from tests.executor.k8s.pods import PYTHON, namespace_of_its_own, variables
from tests.worker.sites import Site, check_sound, event_names, leftovers, make_site, state_of, until

pytestmark = [pytest.mark.k8s, pytest.mark.slow]
WRITES = """
open("output/pred.csv", "w").write("id,label\\n1,cat\\n2,dog\\n")
"""
WAITS = (
    """
import os, time
while not os.path.exists("/tmp/go"):
    time.sleep(0.05)
"""
    + WRITES
)
SLEEPS = "import time; time.sleep(6)" + WRITES
RELEASE = ["python", "-c", "open('/tmp/go', 'w')"]
STREAMED = 2**16  # more than goes with a Job itself


class Scene:
    """A service whose one job runs in the test cluster until it is released."""

    def __init__(self, root: Path, namespace: str, *, more_bytes: int) -> None:
        self.site: Site = make_site(root, K8S_NAMESPACE=namespace, **variables())
        self.store: SqlStore = self.site.open_store()
        self.cluster: Cluster = connect(self.site.settings)
        self.pods: set[str] = set()
        self._more_bytes = more_bytes
        self.begin(WAITS, time_limit=300)

    def begin(self, program: str, *, time_limit: int) -> None:
        """From now on it is about a job that runs this."""
        container = {"image": PYTHON, "cmd": ["python", "-c", program]}
        resources = {"cpu": 0.1, "memory": "64Mi", "gpus": 0}
        self.workspace = self.site.workspace(container=container, resources=resources, time_limit=time_limit)
        (self.workspace / "input" / "more").write_bytes(bytes(self._more_bytes))
        if hasattr(self, "job"):
            self.store.jobs.cancel(self.job.task_id, by="test")
        self.job: Job = self.site.submit(self.store, self.workspace, backend="k8s")

    def one_stopped_worker(self, number: int, *, before: str = "execution_started") -> Job:
        """Claimed by a worker, which is told to stop when its program runs; how the job stands then."""
        job = self.store.work.claim(queues=("cpu",), worker=f"w{number}")
        assert job is not None
        log = self.workspace / "logs" / "job.jsonl"
        log.unlink(missing_ok=True)
        worker = self.site.worker(self.store, f"w{number}")
        thread = threading.Thread(target=worker.work, args=(job,))
        thread.start()
        until(lambda: log.exists() and before in log.read_text(), what=f"the {number}. {before}")
        self.pods |= self.pods_now()
        worker.hand_over()
        thread.join(60)
        assert not thread.is_alive()
        return state_of(self.store, job)

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """The job's Jobs or pods."""
        path = self.cluster.path(kind, group=BATCH if kind == "jobs" else "")
        found = self.cluster.call("GET", path, query={"labelSelector": f"{MANAGED_BY}={OURS}"})["items"]
        return [row for row in found if row["metadata"]["annotations"].get(ANNOTATION_JOB) == self.job.job_id]

    def pods_now(self) -> set[str]:
        """The uids of the job's Jobs and of their pods."""
        return {str(row["metadata"]["uid"]) for kind in ("jobs", "pods") for row in self.rows(kind)}

    def has_ended(self) -> bool:
        """Whether the cluster says that the program has. Its pod may be still to come."""
        statuses = [row for pod in self.rows("pods") for row in pod["status"].get("containerStatuses", ())]
        return any("terminated" in row["state"] for row in statuses)

    def release(self) -> None:
        """Let the program end; with it, whatever else runs in its container, as what tells it to."""
        (pod,) = self.rows("pods")
        with RemoteCommand(self.cluster, pod["metadata"]["name"], MAIN, RELEASE) as command:
            command.exit_code()

    def sweep(self) -> None:
        """What maintenance does about dead attempts, once."""
        executors = [runtime.make_executor("k8s", self.site.settings)]
        Leftovers(self.store, self.site.settings.data_dir, lambda: executors).remove()

    def close(self) -> None:
        self.store.jobs.cancel(self.job.task_id, by="test")
        self.sweep()
        until(lambda: self.pods_now() == set(), what="nothing is left in the cluster")
        self.cluster.close()
        self.site.close()


@pytest.fixture(params=[0, STREAMED], ids=["enclosed", "streamed"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with namespace_of_its_own() as namespace:
        made = Scene(tmp_path / "site", namespace, more_bytes=request.param)
        yield made
        made.close()


def test_four_workers_told_to_stop_and_the_fifth_has_the_result_of_the_one_run(scene: Scene) -> None:
    for number in (1, 2, 3, 4):
        job = scene.one_stopped_worker(number)
        assert (job.state, job.attempt) == (JobState.QUEUED, number)
        scene.sweep()  # maintenance leaves alone what is awaited
    scene.release()
    scene.site.drain(scene.store)
    assert len(scene.pods) == 2, "one Job and one pod, all the time"
    until(lambda: scene.pods_now() == set(), what="the Job is gone")
    scene.sweep()
    check_sound(scene.site, scene.store, scene.job, scene.workspace)
    assert event_names(scene.store, scene.job).count("job_requeued") == 4


def test_told_to_stop_before_the_program_runs_the_same_job_is_taken_up(scene: Scene) -> None:
    for number, event in ((1, "job_created"), (2, "job_adopted")):
        assert scene.one_stopped_worker(number, before=event).state is JobState.QUEUED
    scene.one_stopped_worker(3)
    scene.release()
    scene.site.drain(scene.store)
    scene.sweep()
    assert len(scene.pods) == 2
    check_sound(scene.site, scene.store, scene.job, scene.workspace)


@pytest.mark.long
@pytest.mark.parametrize("scene", [0], indirect=True)
def test_without_the_hand_over_each_stop_is_another_run_and_the_third_the_last(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the tests above."""
    monkeypatch.setattr(k8s_executor, "LEFT_TO_THE_NEXT", ())
    states = [scene.one_stopped_worker(number).state for number in (1, 2, 3)]
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    assert len(scene.pods) == 6


@pytest.mark.parametrize("scene", [0], indirect=True)
def test_a_program_that_ends_beyond_its_time_while_nobody_watches_is_late(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: told to wait longer, it has its score."""
    for late_s, state in ((outcomes.LATE_S, JobState.FAILED), (600.0, JobState.SUCCEEDED)):
        monkeypatch.setattr(outcomes, "LATE_S", late_s)
        scene.begin(SLEEPS, time_limit=1)
        scene.one_stopped_worker(1)
        until(scene.has_ended, what="it ends by itself")
        scene.site.drain(scene.store)
        job = state_of(scene.store, scene.job)
        assert job.state is state, job.error
        assert job.error is None or job.error["code"] == "TIME_LIMIT"


def test_a_cancel_between_two_workers_ends_the_program(scene: Scene) -> None:
    assert scene.one_stopped_worker(1).state is JobState.QUEUED
    scene.sweep()
    assert scene.pods_now() == scene.pods, "control: it runs on"
    assert scene.store.jobs.cancel(scene.job.task_id, by="ada").state is JobState.CANCELLED
    scene.sweep()
    until(lambda: scene.pods_now() == set(), what="the program is gone")
    scene.sweep()
    assert leftovers(scene.site) == []
