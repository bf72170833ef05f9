"""dockerd goes away under a job that a worker holds: the platform's fault, and the job is run again."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from autoscorer.store.records import Job
from autoscorer.store.sql_store import SqlStore
from autoscorer.store.transitions import JobState
from tests.chaos.work import KINDS, make_task
from tests.executor.docker.containers import BUSYBOX, loops_below, mounts_below
from tests.executor.docker.own_engine import OwnEngine
from tests.worker.counts import Counts
from tests.worker.sites import Site, make_site, state_of, until
from tests.worker.stub import GOOD

pytestmark = [pytest.mark.slow, pytest.mark.docker]
WAITING = "while [ ! -e input/release ]; do sleep 0.1; done; cp input/answer.csv output/pred.csv"


def waiting_job(site: Site, store: SqlStore) -> tuple[Path, Job]:
    """A job whose container waits until it is released."""
    folder = site.workspace(
        container={"image": BUSYBOX, "cmd": ["sh", "-c", WAITING]},
        resources={"cpu": 1, "memory": "64Mi", "gpus": 0},
        time_limit=120,
    )
    (folder / "input" / "answer.csv").write_text(GOOD)
    return folder, site.submit(store, folder, backend="docker")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.long)])
def test_a_job_whose_engine_is_restarted_is_run_again(
    tmp_path: Path, engine: OwnEngine, counts: Counts, number: signal.Signals
) -> None:
    how = "restarted" if number == signal.SIGTERM else "killed and started again"
    counts.fault, counts.faults, counts.broker = f"dockerd {how} under a job", 1, ""
    site = make_site(tmp_path / "site")
    site.settings = replace(site.settings, docker_host=engine.host)
    store, later_store = site.open_store(), site.open_store(ahead_s=90)
    folder, job = waiting_job(site, store)
    working = threading.Thread(target=site.drain, args=(store,))
    working.start()
    until(lambda: engine.docker("ps", "-q").stdout, what="its container runs")
    engine.stop(number)
    engine.start()
    working.join(120)
    assert not working.is_alive()
    found = state_of(store, job)
    assert found.state is JobState.QUEUED, found.error
    (attempt,) = store.jobs.attempts(job.task_id)
    assert attempt.error is not None
    assert attempt.error["code"] == "CONTAINER_WAIT_FAILED"
    assert attempt.error["details"]["blame"] == "platform"
    (folder / "input" / "release").touch()
    site.drain(later_store)
    site.recover(later_store)
    counts.count(site, store, {folder: job})
    counts.orphans += len(engine.docker("ps", "-aq").stdout.split()) + len(mounts_below(site.root))
    until(lambda: not loops_below(site.root), what="its loop device is free")
    again, undisturbed = waiting_job(site, store)
    (again / "input" / "release").touch()
    site.drain(store)
    assert [one.error for one in store.jobs.attempts(undisturbed.task_id)] == [None], "control: left alone"
    counts.controls = 1
    counts.check()
    site.close()


def test_a_job_whose_engine_is_away_waits_for_it_and_blames_nobody_who_asked(
    tmp_path: Path, engine: OwnEngine, counts: Counts
) -> None:
    counts.fault, counts.faults, counts.broker = "dockerd away when a job is to start", 1, ""
    site = make_site(tmp_path / "site")
    site.settings = replace(site.settings, docker_host=engine.host)
    store = site.open_store()
    task = make_task(site, KINDS[0], backend="docker", sleep_s=0)
    job = site.submit(store, task.folder, backend="docker")
    engine.stop()
    site.drain(store)
    found = state_of(store, job)
    assert found.state is JobState.QUEUED, found.error
    engine.start()
    later_store = site.open_store(ahead_s=90)
    site.drain(later_store)
    site.recover(later_store)
    counts.count(site, store, {task.folder: job})
    counts.check()
    site.close()
