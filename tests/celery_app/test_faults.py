"""Brokers and workers broken for real: no job is lost, none is done twice, nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from autoscorer import service_runtime
from autoscorer.maintenance.reconcile import reconcile
from autoscorer.queues.base import Queue
from autoscorer.store.records import Job
from autoscorer.store.sql_store import SqlStore
from autoscorer.store.transitions import JobState
from tests.celery_app.line import Line, line_to
from tests.celery_app.process import HASTE, PATIENT, celery_worker
from tests.celery_app.redis import RedisServer
from tests.worker.counts import Counts
from tests.worker.sites import Site, ended, event_names, state_of, until
from tests.worker.stub import starts

pytestmark = [pytest.mark.slow, pytest.mark.redis]
QUICK = {HASTE: "1"}


def queue_of(site: Site, store: SqlStore, url: str) -> Queue:
    """As a process of the API has it."""
    return service_runtime.make_queue(replace(site.settings, celery_broker=url), store)


def submitted(
    site: Site, store: SqlStore, queue: Queue, number: int, program: str = "good"
) -> dict[Path, Job]:
    """Jobs as the API takes them in."""
    made = {}
    for _ in range(number):
        folder = site.workspace(program)
        made[folder] = site.submit(store, folder)
        queue.announce(made[folder])
    return made


def all_start(jobs: dict[Path, Job]) -> None:
    until(lambda: all(starts(folder) for folder in jobs), what="the jobs start")


def finish(jobs: dict[Path, Job]) -> None:
    for folder in jobs:
        (folder / "release").touch()


def all_end(site: Site, store: SqlStore, jobs: dict[Path, Job], *, within_s: float = 120) -> None:
    """Their ends are told, and what is written down after that is, too."""
    until(lambda: all(ended(store, job) for job in jobs.values()), within_s=within_s, what="the jobs end")
    until(lambda: not traces(site, jobs), what="their traces are crossed out")


def traces(site: Site, jobs: dict[Path, Job]) -> list[Path]:
    mine = tuple(job.task_id for job in jobs.values())
    return [path for path in (site.settings.data_dir / "working").glob("*") if path.name.startswith(mine)]


def connected_again(line: Line, before: int) -> bool:
    return line.connections > before


def emptied_by_kill(broker: RedisServer) -> None:
    broker.kill()
    broker.start()


def emptied_by_flush(broker: RedisServer) -> None:
    broker.call("FLUSHALL")


@pytest.mark.parametrize("empty", [emptied_by_kill, emptied_by_flush])
def test_a_broker_that_loses_everything_costs_no_job(
    site: Site,
    store: SqlStore,
    broker: RedisServer,
    counts: Counts,
    empty: Callable[[RedisServer], None],
    *,
    is_long: bool,
) -> None:
    number, slots = (50, 4) if is_long else (12, 2)
    name = "Redis killed and restarted empty" if empty is emptied_by_kill else "FLUSHALL"
    counts.fault, counts.faults = f"{name}, {number} jobs queued and {slots} running", 1
    haste = {} if is_long else QUICK
    with celery_worker(site, broker.url, "-c", str(slots), environ=haste):
        queue = queue_of(site, store, broker.url)
        running = submitted(site, store, queue, slots, "wait")
        all_start(running)
        waiting = submitted(site, store, queue, number)
        until(lambda: broker.messages() == slots, what="as many messages wait as there are slots")
        empty(broker)
        counts.controls += broker.messages() == 0  # control: the messages are gone
        finish(running)
        all_end(site, store, running | waiting)
        counts.count(site, store, running | waiting)
        assert [len(starts(folder)) for folder in running] == [1] * slots
    assert counts.controls == 1
    counts.check()


def test_a_line_that_is_cut_ten_times_costs_no_job(
    site: Site, store: SqlStore, broker: RedisServer, counts: Counts, dice: random.Random, *, is_long: bool
) -> None:
    counts.fault = "the connection to Redis cut"
    with line_to(broker.port) as line, celery_worker(site, f"redis://127.0.0.1:{line.port}/0", environ=QUICK):
        queue = queue_of(site, store, broker.url)
        jobs = submitted(site, store, queue, 1, "wait")
        all_start(jobs)
        for _ in range(10):
            jobs |= submitted(site, store, queue, 4 if is_long else 1)
            threading.Event().wait(dice.uniform(0, 0.2))
            counts.faults += line.cut() > 0
            before = line.connections
            until(partial(connected_again, line, before), what="the worker connects again")
        finish(jobs)
        all_end(site, store, jobs)
        jobs |= (last := submitted(site, store, queue, 1))
        all_end(site, store, last, within_s=30)
        counts.count(site, store, jobs)
        assert [len(starts(folder)) for folder in jobs] == [1] * len(jobs)
    assert counts.faults == 10
    counts.check()


@pytest.mark.long
def test_a_line_that_goes_silent_is_given_up_for_a_new_one(
    site: Site, store: SqlStore, broker: RedisServer, counts: Counts
) -> None:
    counts.fault, counts.faults = "the connection to Redis goes silent, and stays open", 1
    with line_to(broker.port) as line, celery_worker(site, f"redis://127.0.0.1:{line.port}/0", environ=QUICK):
        queue = queue_of(site, store, broker.url)
        jobs = submitted(site, store, queue, 1, "wait")
        all_start(jobs)
        before = line.connections
        line.silence()
        jobs |= submitted(site, store, queue, 4)
        until(lambda: line.connections > before, what="the worker gives the old connection up")
        line.resume()
        finish(jobs)
        all_end(site, store, jobs)
        counts.count(site, store, jobs)
    counts.check()


def test_a_message_that_is_lost_after_it_was_taken_is_sent_again(
    site: Site, store: SqlStore, broker: RedisServer, counts: Counts
) -> None:
    counts.fault, counts.faults = "a message lost between pop and record", 1
    with celery_worker(site, broker.url, "-c", "1", environ=QUICK):
        queue = queue_of(site, store, broker.url)
        running = submitted(site, store, queue, 1, "wait")
        all_start(running)
        job = submitted(site, store, queue, 1)
        until(lambda: broker.messages() == 1)
        assert broker.call("RPOP", "cpu") is not None
        finish(running)
        all_end(site, store, running)
        (lost,) = job.values()
        assert state_of(store, lost).state is JobState.RELEASED, "control: nobody comes by himself"
        counts.controls += 1
        all_end(site, store, job)
        assert "job_withdrawn" in event_names(store, lost)
        counts.count(site, store, running | job)
    counts.check()


def lost_at_s(store: SqlStore, jobs: dict[Path, Job]) -> float:
    """When the message of the one job that is released is taken for lost, by the store's clock."""
    found = [state_of(store, job) for job in jobs.values()]
    (deadline,) = [job.until for job in found if job.state is JobState.RELEASED]
    assert deadline is not None
    return deadline.elapsed_s


def test_a_message_that_only_waits_is_not_taken_for_lost(
    site: Site, store: SqlStore, broker: RedisServer, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a long job a message may wait for hours: it is one message, and no event tells of it."""
    counts.fault, counts.faults = "messages wait behind a long job", 1
    monkeypatch.setattr("autoscorer.queues.releasing.LOST_AFTER_S", 30.0)
    with celery_worker(site, broker.url, "-c", "1", environ={HASTE: PATIENT}):
        queue = queue_of(site, store, broker.url)
        jobs = submitted(site, store, queue, 1, "wait")
        all_start(jobs)
        jobs |= submitted(site, store, queue, 3)
        until(lambda: broker.messages() == 1)
        first_s = lost_at_s(store, jobs)
        until(lambda: lost_at_s(store, jobs) > first_s + 2, what="it is given more time, again and again")
        assert broker.messages() == 1
        names = [event_names(store, job) for job in jobs.values()]
        assert not any("job_withdrawn" in each for each in names)
        assert sum("job_released" in each for each in names) == 2
        finish(jobs)
        all_end(site, store, jobs)
        counts.count(site, store, jobs)
    counts.check()


def test_of_two_workers_with_a_message_each_one_does_the_job(
    site: Site, store: SqlStore, broker: RedisServer, counts: Counts
) -> None:
    """A running job whose message is delivered again is the same to them."""
    counts.fault = "two workers, one job; a message delivered again while its job runs, and after"
    with ExitStack() as stack:
        crew = [celery_worker(site, broker.url, "-c", "1", wait=False) for _ in range(2)]
        both = [stack.enter_context(worker) for worker in crew]
        until(lambda: all(worker.is_ready() for worker in both))
        until(lambda: len(store.workers.present()) == 2)
        queue = queue_of(site, store, broker.url)
        for _ in range(5):
            jobs = submitted(site, store, queue, 1, "wait")
            all_start(jobs)
            (job,) = jobs.values()
            again(site, broker, job)
            until(lambda: broker.messages() == 0, what="the second message is taken")
            finish(jobs)
            all_end(site, store, jobs)
            again(site, broker, job)
            until(lambda: broker.messages() == 0)
            counts.faults += 2
            assert [len(starts(folder)) for folder in jobs] == [1]
            counts.count(site, store, jobs)
        log = site.root / "log" / "autoscorer.log"
        until(lambda: log.read_text().count("message_repeated") == counts.faults, what="each is looked at")
        counts.controls = counts.faults
    counts.check()


def again(site: Site, broker: RedisServer, job: Job) -> None:
    """Deliver the job's message once more, whatever the store says."""
    from autoscorer.queues.celery_queue import CeleryBroker, make_app

    carrier = CeleryBroker(make_app(lambda: replace(site.settings, celery_broker=broker.url)))
    carrier.send(job)
    carrier.close()


def test_the_job_of_a_killed_worker_is_run_by_another(
    site: Site, store: SqlStore, broker: RedisServer, counts: Counts, *, is_long: bool
) -> None:
    counts.fault, counts.faults = "Celery worker killed in the middle of a job", 1
    with celery_worker(site, broker.url, "-c", "1") as first:
        queue = queue_of(site, store, broker.url)
        jobs = submitted(site, store, queue, 1, "wait")
        all_start(jobs)
        with celery_worker(site, broker.url, "-c", "1"):
            os.killpg(first.pid, signal.SIGKILL)
            killed_at = time.monotonic()
            if not is_long:  # in real time it is the same, 40 seconds later
                reconcile(site.open_store(ahead_s=40), queue)
            (folder,) = jobs
            until(lambda: len(starts(folder)) == 2, within_s=90, what="the job runs again")
            if is_long:
                counts.again_s = time.monotonic() - killed_at
                assert counts.again_s < 45
            finish(jobs)
            until(lambda: all(ended(store, job) for job in jobs.values()))
            if not is_long:  # what the dead one left is found as soon as nobody has that duty
                site.recover(site.open_store(ahead_s=40))
            all_end(site, store, jobs)
        counts.count(site, store, jobs)
    counts.check()


@pytest.mark.parametrize("grace_s", [0, 60])
def test_a_worker_that_is_told_to_stop_ends_its_job_or_hands_it_over(
    site: Site, store: SqlStore, broker: RedisServer, counts: Counts, grace_s: int
) -> None:
    how = "with no grace" if grace_s == 0 else "within its grace"
    counts.fault, counts.faults = f"SIGTERM to a Celery worker, {how}", 1
    with celery_worker(site, broker.url, "-c", "1", environ={"WORKER_GRACE": str(grace_s)}) as worker:
        queue = queue_of(site, store, broker.url)
        jobs = submitted(site, store, queue, 1, "wait")
        all_start(jobs)
        later = submitted(site, store, queue, 1)
        until(lambda: broker.messages() == 1)
        worker.signal(signal.SIGTERM)
        until(lambda: not store.workers.present(), what="it says that it leaves")
        ((folder, job),) = jobs.items()
        if grace_s:
            assert state_of(store, job).state is JobState.RUNNING
            finish(jobs)
        assert worker.join() == 0
    found = state_of(store, job)
    if grace_s:
        assert found.state is JobState.SUCCEEDED
    else:
        assert found.state is JobState.QUEUED
        (attempt,) = store.jobs.attempts(job.task_id)
        assert attempt.error is not None
        assert attempt.error["code"] == "WORKER_STOPPED"
    assert not any(ended(store, other) for other in later.values()), "it began nothing more"
    finish(jobs)
    with celery_worker(site, broker.url, environ=QUICK):
        all_end(site, store, jobs | later)
    assert len(starts(folder)) == (1 if grace_s else 2)
    counts.count(site, store, jobs | later)
    counts.check()


def test_a_worker_with_too_little_disk_takes_nothing_and_loses_nothing(
    site: Site, store: SqlStore, broker: RedisServer, counts: Counts
) -> None:
    counts.fault, counts.faults = "too little disk for a Celery worker", 1
    with celery_worker(site, broker.url, environ={"MIN_FREE_DISK": "64Ti"}) as full:
        until(lambda: any(found.paused for found in store.workers.present()), what="it says so")
        queue = queue_of(site, store, broker.url)
        jobs = submitted(site, store, queue, 1)
        again(site, broker, next(iter(jobs.values())))
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 2 or broker.messages() != 1)
        assert broker.messages() == 1, "it lies where it was"
        assert {state_of(store, job).state for job in jobs.values()} == {JobState.QUEUED}
        assert "Traceback" not in full.text()
        assert "claiming_paused" in (site.root / "log" / "autoscorer.log").read_text()
        with celery_worker(site, broker.url):
            all_end(site, store, jobs)
    counts.count(site, store, jobs)
    counts.check()
