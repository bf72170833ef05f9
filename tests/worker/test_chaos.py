"""Faults of workers, for real: killed, stopped, cancelled, with a wrong clock, on a full disk."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from autoscorer.store.records import Job
from autoscorer.store.sql_store import SqlStore
from autoscorer.store.transitions import JobState
from tests.worker.counts import Counts
from tests.worker.process import Workers, workers
from tests.worker.sites import Site, ended, make_site, result_json, state_of, until
from tests.worker.stub import starts

pytestmark = pytest.mark.slow
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


def moment(dice: random.Random, at_most_s: float) -> None:
    """Let a random time pass: the fault is to come at any moment."""
    threading.Event().wait(dice.uniform(0, at_most_s))


def submitted(site: Site, store: SqlStore, number: int, program: str = "good") -> dict[Path, Job]:
    folders = [site.workspace(program) for _ in range(number)]
    return {folder: site.submit(store, folder) for folder in folders}


def strike(site: Site, crew: Workers, pids: list[int], deed: int) -> list[int]:
    """Hit those that still run. SQLite has one writer, and one that is stopped in the middle of writing holds
    up all others until it goes on: such a moment is left for the next.
    """
    while True:
        hit = [pid for pid in pids if pid not in crew.ended]
        for pid in hit:
            crew.signal(pid, deed)
        until(lambda: all(crew.is_stopped_or_over(pid) for pid in pids))
        if deed == signal.SIGKILL or not is_locked(site):
            return hit
        for pid in hit:
            crew.signal(pid, signal.SIGCONT)


def is_locked(site: Site) -> bool:
    """Whether somebody is in the middle of writing to the SQLite file."""
    if not site.url.startswith("sqlite"):
        return False
    with closing(sqlite3.connect(site.root / "jobs.db", timeout=0)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.rollback()
    return False


def started_again(store: SqlStore, jobs: dict[Path, Job]) -> None:
    """A job that chance has hit three times has failed, by the platform's fault; a person starts it again."""
    for job in jobs.values():
        found = state_of(store, job)
        if found.state is JobState.FAILED:
            assert found.error is not None
            assert found.error["code"] == "ATTEMPTS_EXHAUSTED"
            store.jobs.retry(job.task_id, by="ada")


@pytest.mark.parametrize("deed", [signal.SIGKILL, signal.SIGSTOP])
def test_workers_hit_at_random_moments(
    any_site: Site, any_crew: Workers, dice: random.Random, counts: Counts, deed: int, *, is_long: bool
) -> None:
    name = "killed" if deed == signal.SIGKILL else "stopped past its lease, then continued"
    counts.fault = f"worker {name}, at random moments"
    store, later_store = any_site.open_store(), any_site.open_store(ahead_s=40)
    for _ in range(30 if is_long else 4):
        jobs = submitted(any_site, store, 4)
        crew = [any_crew.start(f"w{number}") for number in range(2)]
        moment(dice, 0.4)
        hit = strike(any_site, any_crew, crew, deed)
        counts.faults += len(hit)
        for _ in range(3):
            any_site.recover(later_store)
            started_again(later_store, jobs)
            any_site.drain(later_store)
        for pid in hit:
            if deed == signal.SIGSTOP and pid not in any_crew.ended:
                any_crew.signal(pid, signal.SIGCONT)
        for pid in crew:
            any_crew.join(pid)
        any_site.recover(later_store)
        counts.count(any_site, store, jobs)
    counts.check()


def test_cancels_at_the_finish_line(
    any_site: Site, dice: random.Random, counts: Counts, *, is_long: bool
) -> None:
    counts.fault = "cancel at the finish line"
    store = any_site.open_store()
    worker, spans = any_site.worker(store), []
    outcomes = {JobState.CANCELLED: 0, JobState.SUCCEEDED: 0}
    for number in range(203 if is_long else 23):
        folder = any_site.workspace()
        job = any_site.submit(store, folder, "score")
        claimed = store.work.claim(queues=("cpu",), worker="w1")
        assert claimed is not None
        began = time.monotonic()
        thread = threading.Thread(target=worker.work, args=(claimed,))
        thread.start()
        if number < 3:
            thread.join(60)
            spans.append(time.monotonic() - began)
            continue
        threading.Event().wait(min(spans) * dice.uniform(0.3, 1.1))
        answered = store.jobs.cancel(job.task_id, by="ada").state
        thread.join(60)
        found, published = state_of(store, job), store.jobs.result(job.task_id)
        outcomes[found.state] += 1
        counts.faults += 1
        counts.jobs += 1
        wanted = JobState.SUCCEEDED if answered is JobState.SUCCEEDED else JobState.CANCELLED
        counts.lost += found.state is not wanted
        counts.doubled += (published is None) is not (found.state is JobState.CANCELLED)
        counts.doubled += ("error" in result_json(folder)) is not (found.state is JobState.CANCELLED)
    counts.controls = outcomes[JobState.SUCCEEDED]
    counts.check()


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.CANCELLING])
def test_a_cancel_in_every_state(any_site: Site, counts: Counts, state: JobState) -> None:
    counts.fault, counts.faults, counts.jobs = f"cancel of a job that is {state}", 1, 1
    store = any_site.open_store()
    folder = any_site.workspace({JobState.RUNNING: "wait", JobState.FAILED: "exit"}.get(state, "good"))
    job, thread = any_site.submit(store, folder), None
    if state is JobState.RELEASED:
        store.work.release(queues=("cpu",), at_most=1, lost_after_s=60)
    elif state is JobState.RUNNING:
        thread = threading.Thread(target=any_site.drain, args=(store,))
        thread.start()
        until(lambda: starts(folder))
    elif state in (JobState.SUCCEEDED, JobState.FAILED):
        any_site.drain(store)
    elif state is JobState.CANCELLED:
        store.jobs.cancel(job.task_id, by="eve")
    assert state_of(store, job).state is state
    store.jobs.cancel(job.task_id, by="ada")
    store.jobs.cancel(job.task_id, by="ada")  # while it is cancelling, too
    if thread is not None:
        thread.join(60)
    final = state if state in (JobState.SUCCEEDED, JobState.FAILED) else JobState.CANCELLED
    assert state_of(store, job).state is final
    any_site.drain(store)
    assert len(starts(folder)) == (state in (JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED))
    counts.check()


@pytest.mark.skipif(not FAKETIME.exists(), reason="faketime is missing (apt-get install faketime)")
@pytest.mark.parametrize("jump", ["+2h", "-2h"])
def test_the_clock_of_one_worker_jumps(any_site: Site, tmp_path: Path, counts: Counts, jump: str) -> None:
    counts.fault, counts.faults = f"the clock of one worker jumps by {jump}", 1
    dial = tmp_path / "dial"
    dial.write_text("+0\n")
    environ = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(dial), "FAKETIME_NO_CACHE": "1"}
    store, later_store = any_site.open_store(), any_site.open_store(ahead_s=40)
    folder = any_site.workspace("wait")
    job = any_site.submit(store, folder)
    with workers(any_site, environ) as crew:
        pid = crew.start("w1")
        until(lambda: starts(folder))
        dial.write_text(f"{jump}\n")
        any_site.drain(store)
        assert len(starts(folder)) == 1, "nobody else has got the job by that"
        (folder / "release").touch()
        crew.join(pid)
    any_site.recover(later_store)
    any_site.drain(later_store)
    any_site.recover(later_store)
    counts.count(any_site, store, {folder: job})
    counts.check()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_the_disk_is_full_when_the_output_is_taken(any_site: Site, counts: Counts) -> None:
    counts.fault, counts.faults = "disk full at publish", 1
    small = any_site.root / "workspaces" / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", small], check=True)
    try:
        store = any_site.open_store()
        folder = any_site.workspace("wait", below=small)
        job = any_site.submit(store, folder)
        thread = threading.Thread(target=any_site.drain, args=(store,))
        thread.start()
        until(lambda: starts(folder))
        fill = subprocess.run(
            ["dd", "if=/dev/zero", f"of={small / 'filler'}", "bs=4k"], capture_output=True, check=False
        )
        assert b"No space left" in fill.stderr
        os.truncate(small / "filler", (small / "filler").stat().st_size - 2 * 4096)  # room for two pages
        (folder / "release").touch()
        thread.join(60)
        found = state_of(store, job)
        assert found.state is JobState.QUEUED, found.error
        assert [attempt.error["code"] for attempt in store.jobs.attempts(job.task_id) if attempt.error] == [
            "RESOURCE_UNAVAILABLE"
        ]
        (small / "filler").unlink()
        later_store = any_site.open_store(ahead_s=90)
        any_site.drain(later_store)
        any_site.recover(later_store)
        counts.jobs = counts.controls = 1
        counts.lost += state_of(store, job).state is not JobState.SUCCEEDED
        counts.check()
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.long
def test_the_jobs_of_a_killed_worker_run_again_within_45_seconds(any_site: Site, counts: Counts) -> None:
    """In real time: lease, reconciler and queue as they are in the service."""
    from autoscorer import service_runtime
    from autoscorer.maintenance.loop import Maintenance
    from autoscorer.queues.store_queue import StoreQueue

    counts.fault, counts.faults = "worker killed; the time until its job runs again", 1
    store = any_site.open_store()
    folder = any_site.workspace("wait")
    job = any_site.submit(store, folder)
    with workers(any_site) as crew:
        pid = crew.start("w1")
        until(lambda: starts(folder))
        queue, stop = StoreQueue(store), threading.Event()
        worker = any_site.worker(store, "w2")
        duties = service_runtime.maintenance_duties(any_site.settings, store, queue)
        threads = [
            threading.Thread(target=lambda: queue.run(worker, slots=1, stop=stop)),
            threading.Thread(target=lambda: Maintenance(store, duties).run(stop)),
        ]
        for thread in threads:
            thread.start()
        os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        until(lambda: len(starts(folder)) == 2, within_s=90)
        counts.again_s = time.monotonic() - killed_at
        assert counts.again_s < 45
        (folder / "release").touch()
        until(lambda: ended(store, job))
        stop.set()
        queue.wake()
        for thread in threads:
            thread.join(60)
    any_site.recover(any_site.open_store(ahead_s=40))
    counts.count(any_site, store, {folder: job})
    counts.check()


PROGRAM = """
import os, time
while not os.path.exists('input/release'): time.sleep(0.05)
open('output/pred.csv', 'w').write('id,label\\n1,cat\\n2,dog\\n')
"""


@pytest.mark.sandbox
@pytest.mark.parametrize("deed", [signal.SIGKILL, signal.SIGSTOP])
def test_a_program_in_the_sandbox_ends_with_its_worker(tmp_path: Path, counts: Counts, deed: int) -> None:
    """Killed: it ends by itself. Asleep: whoever cleans up ends it."""
    name = "killed" if deed == signal.SIGKILL else "asleep past its lease"
    counts.fault, counts.faults = f"worker {name} with a program in the sandbox", 1
    site = make_site(tmp_path / "site")
    store, later_store = site.open_store(), site.open_store(ahead_s=40)
    folder = site.workspace(container={"image": "none", "cmd": ["python", "-c", PROGRAM]})
    job = site.submit(store, folder, backend="local")
    noted = site.settings.data_dir / "programs"
    with workers(site) as crew:
        pid = crew.start("w1")
        until(lambda: list(noted.glob("*.json")))
        supervisor = int(next(noted.glob("*.json")).stem)
        os.kill(pid, deed)
        until(lambda: crew.is_stopped_or_over(pid))
        if deed == signal.SIGSTOP:
            assert is_running(supervisor), "control: by itself it goes on"
            counts.controls += 1
        recover_all(site, later_store)
        until(lambda: not is_running(supervisor), what="its program has ended")
        (folder / "input" / "release").touch()
        site.drain(later_store)
        if deed == signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)
        crew.join(pid)
    recover_all(site, later_store)
    assert list(noted.iterdir()) == []
    counts.count(site, store, {folder: job})
    counts.check()
    site.close()


def recover_all(site: Site, store: SqlStore) -> None:
    from autoscorer.executor.local_executor import make_executor
    from autoscorer.maintenance.leftovers import Leftovers
    from autoscorer.store.leases import recover

    recover(store.work)
    Leftovers(store, site.settings.data_dir, lambda: [make_executor(site.settings, "hardened")]).remove()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
