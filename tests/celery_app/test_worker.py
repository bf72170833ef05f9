"""A real Celery worker: what it takes, what it throws away, how it is started and stopped."""

from __future__ import annotations

import base64
import json
import pickle
import signal
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from autoscorer.store.records import Job
from autoscorer.store.sql_store import SqlStore
from autoscorer.store.transitions import JobState
from tests.celery_app.process import UNMENDED, celery_worker, environ_of
from tests.celery_app.rabbitmq import rabbitmq_server
from tests.celery_app.redis import RedisServer
from tests.celery_app.test_faults import all_end, all_start, finish, queue_of, submitted
from tests.worker.counts import Counts
from tests.worker.sites import Site, ended, state_of, until
from tests.worker.stub import starts

pytestmark = pytest.mark.slow
CLI = [sys.executable, "-m", "celery", "-A", "celery_app.tasks"]


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def envelope(body: bytes | str, headers: Any, **changes: Any) -> str:
    """A message as kombu's Redis transport lays it down."""
    encoded = base64.b64encode(body.encode() if isinstance(body, str) else body).decode()
    properties = {
        "correlation_id": "x",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "cpu"},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }
    return json.dumps(
        {
            "body": encoded,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
            **changes,
        }
    )


def call(*arguments: Any, embed: Any = None, **keywords: Any) -> str:
    return json.dumps([list(arguments), keywords, embed or {}])


def forgeries(job: Job, done: Job, bomb: bytes) -> list[str | bytes]:
    """Messages of whoever can write to the broker. None may do anything."""
    score, pipeline = {"task": "score", "id": "1"}, {"task": "pipeline", "id": "1"}
    mine = call(job.task_id)
    link = {"callbacks": [{"task": "celery.map", "args": [], "kwargs": {}, "options": {}}]}
    pickled = {"content-type": "application/x-python-serialize", "content-encoding": "binary"}
    return [
        b"\x80\x04nonsense",
        "{}",
        "[]",
        "7",
        "null",
        '"text"',
        '{"body": 1}',
        '{"properties": []}',
        '{"properties": {"delivery_tag": {"a": 1}}}',
        envelope(bomb, pipeline, **pickled),
        envelope(bomb, {}, **pickled),
        envelope(bomb, None, **pickled),
        envelope(bomb, pipeline),
        envelope(mine, None),
        envelope(mine, "pipeline"),
        envelope(mine, ["pipeline"]),
        envelope(mine, {"task": ["pipeline"]}),
        envelope(mine, {"task": {"a": 1}}),
        envelope(mine, {"task": "no.such.task", "id": "1"}),
        envelope(mine, {"task": "celery.backend_cleanup", "id": "1"}),
        envelope(mine, {**pipeline, "compression": "zlib"}),
        envelope(mine, pipeline, properties=None),
        envelope(mine, pipeline, **{"content-type": None}),
        envelope(mine, score),  # a job that is to be run, not scored
        envelope(call(str(uuid.uuid4())), pipeline),
        envelope(call(done.task_id), pipeline),
        envelope(call("x' OR '1'='1"), pipeline),
        envelope(call(None), pipeline),
        envelope(call(job.task_id, "more"), pipeline),
        envelope(call(task_id=job.task_id), pipeline),
        envelope(call(), pipeline),
        envelope("no json", pipeline),
        envelope("[" * 50_000, pipeline),
        envelope(call(str(uuid.uuid4()), embed=link), {**pipeline, "eta": "2999-01-01T00:00:00"}),
    ]


@pytest.mark.redis
def test_forged_messages_and_pickles_are_dropped_and_do_nothing(
    site: Site, store: SqlStore, broker: RedisServer, counts: Counts, tmp_path: Path
) -> None:
    counts.fault = "forged messages and pickles"
    bomb = pickle.dumps(Bomb(tmp_path / "control"))
    pickle.loads(bomb)
    assert (tmp_path / "control").exists(), "control: whoever unpickles it, runs it"
    counts.controls = 1
    with celery_worker(site, broker.url, "-Q", "cpu", "-c", "1"):
        queue = queue_of(site, store, broker.url)
        done = submitted(site, store, queue, 1)
        all_end(site, store, done)
        folder = site.workspace()
        job = site.submit(store, folder, queue="gpu")  # of a queue that this worker does not serve
        messages = forgeries(job, next(iter(done.values())), pickle.dumps(Bomb(tmp_path / "bomb")))
        for message in [*messages, envelope(call(job.task_id), {"task": "pipeline", "id": "1"})]:
            broker.call("LPUSH", "cpu", message)
            counts.faults += 1
        until(lambda: broker.messages() == 0, within_s=120, what="the forged messages are taken")
        last = submitted(site, store, queue, 1)
        all_end(site, store, last)
        until(lambda: broker.call("HLEN", "unacked") == 0, what="they are gone for good")
        assert state_of(store, job).state is JobState.QUEUED
        assert starts(folder) == []
        assert [len(starts(other)) for other in done | last] == [1, 1]
        assert not (tmp_path / "bomb").exists()
        log = (site.root / "log" / "autoscorer.log").read_text()
        assert log.count("message_dropped") >= 18
        counts.count(site, store, done | last)
    counts.check()


@pytest.mark.redis
@pytest.mark.parametrize("mended", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_broker_that_is_away_when_a_job_ends_costs_no_slot(
    site: Site, store: SqlStore, broker: RedisServer, counts: Counts, mended: bool
) -> None:
    """Celery writes a line into its log, and counts the message as being worked on for ever."""
    counts.fault, counts.faults = "Redis away while a job ends", 1
    unmended = {} if mended else {UNMENDED: "1"}
    with celery_worker(site, broker.url, "-c", "1", environ=unmended) as worker:
        queue = queue_of(site, store, broker.url)
        jobs = submitted(site, store, queue, 1, "wait")
        all_start(jobs)
        broker.kill()
        finish(jobs)
        all_end(site, store, jobs)
        noticed = "Connection to broker lost" if mended else "Couldn't ack"
        until(lambda: noticed in worker.text(), what="it is noticed")
        broker.start()
        jobs |= (after := submitted(site, store, queue, 1))
        if not mended:
            with pytest.raises(AssertionError):
                all_end(site, store, after, within_s=15)
            return
        all_end(site, store, after)
        counts.count(site, store, jobs)
    counts.check()


@pytest.mark.redis
def test_a_slot_takes_its_next_job_from_the_store_in_the_stores_order(
    site: Site, store: SqlStore, broker: RedisServer, counts: Counts
) -> None:
    """One message starts it; what waits and is not released comes without one."""
    counts.fault = "jobs without a message"
    with celery_worker(site, broker.url, "-c", "1"):
        queue = queue_of(site, store, broker.url)
        first = submitted(site, store, queue, 1, "wait")
        all_start(first)
        waiting = {(folder := site.workspace()): site.submit(store, folder) for _ in range(12)}
        late = site.workspace()
        jobs = first | waiting | {late: site.submit(store, late, priority=5)}
        finish(first)
        all_end(site, store, jobs)
        counts.count(site, store, jobs)
    begun = sorted((store.jobs.events(job.task_id)[-1].at, folder) for folder, job in (jobs).items())
    names = {folder: [event.name for event in store.jobs.events(job.task_id)] for folder, job in jobs.items()}
    without = [folder for folder, told in names.items() if "released" not in told]
    assert len(without) > len(jobs) // 2
    assert [folder for _, folder in begun].index(late) <= 2  # of those that waited nearly the first
    counts.check()


PROGRAM = """
import os, time
open('output/started', 'w').close()
while True: time.sleep(0.05)
"""


@pytest.mark.redis
@pytest.mark.docker
def test_a_cancel_ends_the_container_on_another_worker(
    site: Site, store: SqlStore, broker: RedisServer
) -> None:
    spec = {"image": "autoscorer-test/python:3", "cmd": ["python", "-c", PROGRAM]}
    with celery_worker(site, broker.url, "-c", "1", stub=False):
        queue = queue_of(site, store, broker.url)
        folder = site.workspace(container=spec)
        job = site.submit(store, folder, backend="docker")
        queue.announce(job)
        until(lambda: containers(job), what="its container runs")
        store.jobs.cancel(job.task_id, by="ada")
        until(lambda: ended(store, job), within_s=60)
        assert state_of(store, job).state is JobState.CANCELLED
        assert containers(job) == []
        assert store.jobs.result(job.task_id) is None


def containers(job: Job) -> list[str]:
    """The containers that carry the job's lease, running or not."""
    import docker

    with closing(docker.from_env()) as engine:
        every = engine.containers.list(all=True, ignore_removed=True)
        return [found.name for found in every if job.task_id in json.dumps(found.labels)]


@pytest.mark.rabbitmq
@pytest.mark.long
def test_rabbitmq_carries_jobs_too(site: Site, store: SqlStore, counts: Counts) -> None:
    counts.fault, counts.faults, counts.broker = "SIGTERM to a Celery worker, within its grace", 1, "RabbitMQ"
    with rabbitmq_server() as url:
        queue = queue_of(site, store, url)
        with celery_worker(site, url, "-c", "2") as worker:
            running = submitted(site, store, queue, 1, "wait")
            all_start(running)
            jobs = submitted(site, store, queue, 10)
            all_end(site, store, jobs)
            worker.signal(signal.SIGTERM)
            finish(running)
            assert worker.join() == 0
        all_end(site, store, running)
        counts.count(site, store, running | jobs)
        assert [len(starts(folder)) for folder in running | jobs] == [1] * 11
    counts.check()


@pytest.mark.parametrize(
    ("arguments", "environ", "told"),
    [
        ([], {"CELERY_BROKER": ""}, "CELERY_BROKER"),
        (["-P", "solo"], {}, "threads"),
        ([], {"MIN_FREE_DISK": "much"}, "MIN_FREE_DISK"),
        (["-Q", "other"], {}, "other"),
    ],
)
def test_a_worker_that_cannot_be_started_says_why(
    site: Site, arguments: list[str], environ: dict[str, str], told: str
) -> None:
    given = {**environ_of(site, "redis://127.0.0.1:1/0"), **environ}
    command = [*CLI, "worker", *arguments]
    finished = subprocess.run(command, env=given, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode != 0
    assert told in finished.stderr[-500:]


def test_importing_the_tasks_reads_no_configuration(tmp_path: Path) -> None:
    program = "import celery_app.tasks as t; print(sorted(n for n in t.app._tasks if '.' not in n))"
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={"CELERY_BROKER": "nonsense", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
