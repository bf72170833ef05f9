"""What the service costs around a score, submission to result, and how fast one worker drains a queue."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoscorer import runtime, service_runtime
from autoscorer.queues.base import Queue
from autoscorer.queues.store_queue import StoreQueue
from autoscorer.store.base import Store
from autoscorer.store.records import Action, Job, NewJob
from autoscorer.store.transitions import STATES, JobState
from autoscorer.utils.config import Config, Settings
from benchmarks.disk import described, server_folder
from benchmarks.harness import Comparison, Row, Run
from benchmarks.scoring import LABELS, SCORER, SMALL_ROWS

SCORES = 20  # one after another, in each half of a pair
PAIRS = 10
DRAINED = int(os.environ.get("BENCH_DRAINED", "2000"))
DRAINS = 3
SLOTS = 4  # two a processor here: one waits for the disk while another computes
_NOTHING = Run(0.0, 0)
_SPEC = {
    "job_id": "j",
    "task_type": "classification",
    "scorer": SCORER,
    "container": {"image": "none", "cmd": ["true"]},
}
NO_OP = """
import celery
app = celery.Celery("bare", broker=BROKER, backend=BROKER)
app.conf.update(worker_pool="threads", worker_concurrency=2, task_default_queue="bare")
@app.task(name="no_op")
def no_op(): return None
"""


def rows() -> Iterator[Row]:
    """All score isolated, nothing is served from the cache. Redis is private, the store a SQLite file, the
    disk as `server_folder` has it."""
    if shutil.which("redis-server") is None:
        return
    with service() as site, bare_celery(site) as no_op:
        work = f"submit → result of a {SMALL_ROWS}-row score"
        against = "submit → result of a no-op task of bare Celery over the same Redis"
        with celery_worker(site):
            yield Row(
                work=f"{work}, Celery over Redis",
                against=against,
                comparison=paired(site, no_op),
                aim=None,
                most_s_more=0.06,
            )
            yield drained_row(site, "Celery over Redis")
        with embedded_worker(site):
            yield Row(
                work=f"{work}, the embedded queue",
                against=against,
                comparison=paired(site, no_op),
                aim=None,
                most_s_more=0.06,
            )
            yield drained_row(site, "the embedded queue")


@dataclass
class Bench:
    """A service in a temporary folder. ``queue`` is how its jobs are announced at present."""

    root: Path
    settings: Settings
    store: Store
    broker: str
    queue: Queue
    made: int = 0

    def submit(self) -> Job:
        """A job with a workspace of its own, as the API takes it in."""
        return self.announce(self.prepared())

    def prepared(self) -> NewJob:
        self.made += 1
        folder = self.root / "workspaces" / f"w{self.made}"
        make_workspace(folder)
        (organisation, *_) = self.store.access.organisations()
        return NewJob(
            organisation_id=organisation.organisation_id,
            job_id=f"j{self.made}",
            action=Action.SCORE,
            workspace=folder.name,
            spec=_SPEC,
            submitted_by="bench",
        )

    def announce(self, new: NewJob) -> Job:
        job = self.store.jobs.submit(new).job
        self.queue.announce(job)
        return job

    def wait(self, job: Job, *, look_every_s: float = 0.001) -> None:
        while not STATES[self._state(job)].final:
            time.sleep(look_every_s)
        if self._state(job) is not JobState.SUCCEEDED:
            raise RuntimeError(f"a score failed: {self.store.jobs.get(job.task_id)}")

    def _state(self, job: Job) -> JobState:
        found = self.store.jobs.get(job.task_id)
        if found is None:
            raise RuntimeError("a job is gone")
        return found.state


def paired(site: Bench, no_op: Any) -> Comparison:
    """Interleaved halves of `SCORES` each; the first pair warms both and is not counted."""
    pairs = [(score_mean(site), no_op_mean(no_op)) for _ in range(PAIRS + 1)][1:]
    return Comparison(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))


def score_mean(site: Bench) -> Run:
    prepared = [site.prepared() for _ in range(SCORES)]
    began = time.perf_counter()
    for new in prepared:
        site.wait(site.announce(new))
    return Run((time.perf_counter() - began) / SCORES, 0)


def no_op_mean(no_op: Any) -> Run:
    began = time.perf_counter()
    for _ in range(SCORES):
        no_op.delay().get(timeout=30)
    return Run((time.perf_counter() - began) / SCORES, 0)


def drained_row(site: Bench, queue: str) -> Row:
    """Submitted first; then timed is how long those take that still wait."""
    runs = tuple(drained(site) for _ in range(DRAINS))
    rate = 1 / statistics.median(run.seconds for run in runs)
    return Row(
        work=f"one worker with {SLOTS} slots draining {DRAINED:,} queued {SMALL_ROWS}-row scores, "
        f"{queue}: seconds a job",
        against="nothing",
        comparison=Comparison(runs, runs),
        aim=None,
        most_s=1 / 50,
        note=f"{rate:.0f} a second, on {described(site.root)}",
    )


def drained(site: Bench) -> Run:
    jobs = [site.store.jobs.submit(site.prepared()).job for _ in range(DRAINED)]
    waiting, began = sum(site.store.jobs.counts().values()), time.perf_counter()  # the worker looks by itself
    site.queue.announce(jobs[0])
    site.wait(jobs[-1], look_every_s=0.2)  # about the last to end; to ask is work for the machine, too
    while site.store.jobs.counts():
        time.sleep(0.02)
    took = time.perf_counter() - began
    for job in jobs:
        site.wait(job)  # raises for one that failed
    return Run(took / max(waiting, 1), 0)


@contextmanager
def service() -> Iterator[Bench]:
    with server_folder() as root, ExitStack() as stack:
        broker = stack.enter_context(redis(root))
        settings = Config(root / "none.yaml", environ=environ_of(root, broker)).settings
        (root / "workspaces").mkdir()
        store = service_runtime.open_store(settings)
        stack.callback(store.close)
        store.access.add_organisation("bench")
        yield Bench(root, settings, store, broker, service_runtime.make_queue(settings, store))


def environ_of(root: Path, broker: str) -> dict[str, str]:
    return {
        "WORKSPACE_ROOT": str(root / "workspaces"),
        "DATA_DIR": str(root / "data"),
        "LOG_DIR": str(root / "log"),
        "CELERY_BROKER": broker,
        "CACHE_MAX_BYTES": "0",
        "WORKER_SLOTS": str(SLOTS),
    }


@contextmanager
def redis(root: Path) -> Iterator[str]:
    path = root / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(root)]
    with ended(subprocess.Popen(command, stdout=subprocess.DEVNULL)):
        until(path.exists)
        yield f"redis+socket://{path}"


@contextmanager
def celery_worker(site: Bench) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "celery_app.tasks", "worker"]
    environ = {**os.environ, **environ_of(site.root, site.broker)}
    with ended(subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)):
        until(site.store.workers.present)
        site.wait(site.submit())
        yield


@contextmanager
def embedded_worker(site: Bench) -> Iterator[None]:
    former, settings = site.queue, replace(site.settings, celery_broker=None)
    queue, stop = StoreQueue(site.store), threading.Event()
    with runtime.open_catalog(settings, isolate=True, warm=True) as catalog:
        worker = service_runtime.make_worker(settings, site.store, catalog)
        thread = threading.Thread(target=lambda: queue.run(worker, slots=SLOTS, stop=stop))
        thread.start()
        site.queue = queue
        try:
            site.wait(site.submit())
            yield
        finally:
            site.queue = former
            stop.set()
            queue.wake()
            thread.join()


@contextmanager
def bare_celery(site: Bench) -> Iterator[Any]:
    """A no-op task of an application that has nothing of ours, with a worker like ours."""
    module = site.root / "bare.py"
    module.write_text(f"BROKER = {site.broker!r}\n{NO_OP}", encoding="utf-8")
    names: dict[str, Any] = {}
    exec(compile(module.read_text(), module.name, "exec"), names)
    command = [sys.executable, "-m", "celery", "-A", "bare", "worker", "--without-mingle"]
    with ended(subprocess.Popen(command, cwd=site.root, stdout=subprocess.DEVNULL)):
        names["no_op"].delay().get(timeout=60)
        yield names["no_op"]


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def until(condition: Any) -> None:
    give_up_at = time.monotonic() + 60
    while not condition():
        if time.monotonic() > give_up_at:
            raise RuntimeError("a process of the benchmark did not start")
        time.sleep(0.02)


def make_workspace(folder: Path) -> None:
    """Ten rows, four of five labels right."""
    import json

    chosen = random.Random(0)
    true = [chosen.choice(LABELS) for _ in range(SMALL_ROWS)]
    guessed = [name if chosen.random() < 0.8 else chosen.choice(LABELS) for name in true]
    for name, column in (("reference/gt.csv", true), ("output/pred.csv", guessed)):
        lines = "".join(f"{number},{label}\n" for number, label in enumerate(column))
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(f"id,label\n{lines}", encoding="utf-8")
    (folder / "meta.json").write_text(json.dumps(_SPEC), encoding="utf-8")
