"""The embedded queue: quick when it is told, quiet when it is not, and never believing a hint."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoscorer.queues.store_queue import StoreQueue
from autoscorer.store.records import Job
from autoscorer.store.sql_store import SqlStore
from autoscorer.store.transitions import JobState
from tests.worker.sites import Site, ended, event_names, make_site, state_of, until
from tests.worker.stub import starts

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them


class Recorder:
    """A worker that only notes what it is given, and ends it."""

    worker_id = "recorder"

    def __init__(self, store: SqlStore, *, hold: threading.Event | None = None) -> None:
        self._store = store
        self._hold = hold
        self.given: list[str] = []
        self.reason: str | None = None
        self.handed_over = threading.Event()

    def paused(self) -> str | None:
        return self.reason

    def hand_over(self) -> None:
        self.handed_over.set()

    def work(self, job: Job) -> None:
        from autoscorer.store.leases import lease_of

        self.given.append(job.task_id)
        if (hold := self._hold) is not None:
            until(lambda: hold.is_set() or self.handed_over.is_set())
        self._store.work.succeed(lease_of(job), result={"metrics": {}})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = make_site(tmp_path / "site")
    yield made
    made.close()


@pytest.fixture
def store(site: Site) -> SqlStore:
    return site.open_store()


@contextmanager
def running(queue: StoreQueue, worker: Recorder, *, slots: int = 2, grace_s: float = 30) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(
        target=lambda: queue.run(worker, slots=slots, stop=stop, grace_s=grace_s), daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        queue.wake()
        thread.join(60)
        assert not thread.is_alive()


def test_a_job_that_is_announced_starts_at_once(site: Site, store: SqlStore) -> None:
    queue, worker = StoreQueue(store, poll_s=60), Recorder(store)
    with running(queue, worker):
        job = site.submit(store, site.workspace())
        queue.announce(job)
        until(lambda: ended(store, job), within_s=20)


def test_a_job_that_nobody_announced_is_found(site: Site, store: SqlStore) -> None:
    with running(StoreQueue(store, poll_s=0.05), Recorder(store)):
        job = site.submit(store, site.workspace())
        until(lambda: ended(store, job))


def test_forged_and_repeated_announcements_start_nothing(site: Site, store: SqlStore) -> None:
    queue, worker = StoreQueue(store, poll_s=60), Recorder(store)
    job = site.submit(store, site.workspace())
    with running(queue, worker):
        for _ in range(50):
            queue.announce(job)
            queue.announce(dataclasses.replace(job, task_id="made-up"))
        until(lambda: ended(store, job))
        queue.announce(job)
    assert worker.given == [job.task_id]
    assert event_names(store, job).count("job_claimed") == 1


def test_no_more_jobs_run_at_once_than_there_are_slots(site: Site, store: SqlStore) -> None:
    release = threading.Event()
    queue, worker = StoreQueue(store, poll_s=0.02), Recorder(store, hold=release)
    jobs = [site.submit(store, site.workspace()) for _ in range(5)]
    with running(queue, worker, slots=2):
        until(lambda: len(worker.given) == 2)
        with pytest.raises(AssertionError):
            until(lambda: len(worker.given) > 2, within_s=0.3)
        release.set()
        until(lambda: all(ended(store, job) for job in jobs))


def test_only_the_queues_it_serves_are_claimed_from(site: Site, store: SqlStore) -> None:
    gpu = site.submit(store, site.workspace(), queue="gpu")
    cpu = site.submit(store, site.workspace())
    with running(StoreQueue(store, queues=("cpu",), poll_s=0.02), Recorder(store)):
        until(lambda: ended(store, cpu))
    assert state_of(store, gpu).state is JobState.QUEUED


def test_while_the_worker_is_paused_nothing_is_claimed_and_nothing_fails(
    site: Site, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoscorer.queues.store_queue.PAUSE_S", 0.02)
    queue, worker = StoreQueue(store, poll_s=0.02), Recorder(store)
    worker.reason = "the disk is full"
    with running(queue, worker):
        job = site.submit(store, site.workspace())
        until(lambda: queue.paused == "the disk is full")
        assert state_of(store, job).state is JobState.QUEUED
        worker.reason = None
        until(lambda: ended(store, job))
        assert queue.paused is None


def test_a_pause_is_logged_once_however_its_numbers_change_and_its_end_is(
    site: Site, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[str, str | None]] = []
    monkeypatch.setattr(
        "autoscorer.queues.store_queue.log_event",
        lambda _level, event, *, reason=None, **_facts: logged.append((event, reason)),
    )
    monkeypatch.setattr("autoscorer.queues.store_queue.PAUSE_S", 0.02)
    looks = itertools.count(1)

    class Filling(Recorder):
        def paused(self) -> str | None:
            return None if self.reason is None else f"{next(looks)} bytes free"

    queue, worker = StoreQueue(store, poll_s=0.02), Filling(store)
    worker.reason = "the disk is full"
    with running(queue, worker):
        until(lambda: queue.paused not in (None, "1 bytes free", "2 bytes free"))
        worker.reason = None
        until(lambda: queue.paused is None)
        job = site.submit(store, site.workspace())
        until(lambda: ended(store, job))
    assert logged == [("claiming_paused", "1 bytes free"), ("claiming", None)]


def test_when_told_to_stop_jobs_end_within_the_grace_or_are_handed_over(site: Site, store: SqlStore) -> None:
    worker = Recorder(store, hold=threading.Event())
    job = site.submit(store, site.workspace())
    with running(StoreQueue(store, poll_s=0.02), worker, grace_s=0.2):
        until(lambda: worker.given)
        assert not worker.handed_over.is_set()
    assert worker.handed_over.is_set()
    assert ended(store, job)


def test_waiting_for_jobs_costs_next_to_nothing(store: SqlStore) -> None:
    with running(StoreQueue(store), Recorder(store)):
        until(lambda: True)
        cpu_before, began = time.process_time(), time.monotonic()
        until(lambda: time.monotonic() - began > 2)
        ours_s = time.process_time() - cpu_before
    # `until` itself asks a hundred times a second.
    assert ours_s < 0.4


def test_a_real_worker_in_real_slots_drains_ten_jobs(site: Site, store: SqlStore) -> None:
    queue, stop = StoreQueue(store, poll_s=0.05), threading.Event()
    workspaces = [site.workspace() for _ in range(10)]
    jobs = [site.submit(store, workspace) for workspace in workspaces]
    worker = site.worker(store)
    thread = threading.Thread(target=lambda: queue.run(worker, slots=3, stop=stop), daemon=True)
    thread.start()
    until(lambda: all(ended(store, job) for job in jobs))
    stop.set()
    queue.wake()
    thread.join(60)
    assert {state_of(store, job).state for job in jobs} == {JobState.SUCCEEDED}
    assert [len(starts(workspace)) for workspace in workspaces] == [1] * 10
