"""What is true of a service once it has been broken and left alone: asked of store, files, engine, kernel."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from autoscorer.store.records import Job
from autoscorer.store.sql_store import SqlStore
from autoscorer.store.transitions import JobState
from tests.chaos.stack import Stack
from tests.chaos.work import Task
from tests.executor.docker.containers import loops_below, mounts_below
from tests.worker.counts import THEIRS, Counts, blamed
from tests.worker.sites import event_names, leftovers, result_json
from tests.worker.stub import GOOD

FINAL = ("job_succeeded", "job_failed", "job_cancelled")


def audit(stack: Stack, jobs: Mapping[str, Task], counts: Counts) -> list[str]:
    """Count, and say what is wrong with which job."""
    found: list[str] = []
    counts.jobs += len(jobs)
    for task_id, task in jobs.items():
        job = stack.store.jobs.get(task_id)
        faults = _lost(stack.store, task, job)
        counts.lost += bool(faults)
        if job is not None:
            for name, number in (
                ("doubled", _doubled(stack.store, job)),
                ("intruders", _intruders(stack.store, job)),
                ("wrong_blame", _wrong_blame(stack.store, task, job)),
            ):
                setattr(counts, name, getattr(counts, name) + number)
                faults += [name] * number
        found += [f"{task_id} {task.kind} on {task.backend}: {fault}" for fault in faults]
    return found


def _lost(store: SqlStore, task: Task, job: Job | None) -> list[str]:
    """Not there, not ended as it must, or without its right score in the store and in the workspace."""
    if job is None:
        return ["it is not in the store"]
    kind, stored = task.kind, store.jobs.result(job.task_id)
    code = job.error["code"] if job.error else None
    wrong = []
    if (job.state, code) != (kind.ends, kind.code):
        wrong.append(f"{job.state} {job.error}")
    told = result_json(task.folder) if (task.folder / "output" / "result.json").exists() else None
    if kind.score is not None:
        if stored is None or abs(float(stored.body["summary"]["f1_macro"]) - kind.score) > 1e-12:
            wrong.append(f"score {stored}")
        elif told != stored.body:
            wrong.append("result.json is not what the store has")
    elif kind.ends is JobState.CANCELLED and (told is None or told["error"]["code"] in _earlier(store, job)):
        pass  # nobody had begun: there is nothing to write it down beside, and nothing there is touched
    elif kind.code is not None and (told is None or told["error"]["code"] != kind.code):
        wrong.append(f"result.json: {told}")
    elif kind.ends is JobState.SUCCEEDED and (task.folder / "output" / "pred.csv").read_text() != GOOD:
        wrong.append("other predictions")
    return wrong


def _earlier(store: SqlStore, job: Job) -> set[str]:
    """The codes with which a job had failed before it was retried, if it was cancelled in the queue then."""
    events = list(store.jobs.events(job.task_id))
    retried = [event.number for event in events if event.name == "job_retried"]
    if not retried or any(event.name == "job_cancel_asked" for event in events[retried[-1] :]):
        return set()
    return {str(event.facts["code"]) for event in events[: retried[-1]] if event.name == "job_failed"}


def _doubled(store: SqlStore, job: Job) -> int:
    """Ended more often than started; a score of what has none; events or attempts that do not add up."""
    names, events = event_names(store, job), list(store.jobs.events(job.task_id))
    attempts = store.jobs.attempts(job.task_id)
    return sum(
        (
            sum(name in FINAL for name in names) != 1 + names.count("job_retried"),
            job.state is not JobState.SUCCEEDED and _has_score(store, job),
            [event.number for event in events] != list(range(1, len(events) + 1)),
            names.count("job_submitted") != 1,
            names.count("job_claimed") != len(attempts),
            any(attempt.end is None for attempt in attempts),
        )
    )


def _has_score(store: SqlStore, job: Job) -> bool:
    stored = store.jobs.result(job.task_id)
    return stored is not None and bool(stored.body["metrics"] or stored.body["summary"])


def _intruders(store: SqlStore, job: Job) -> int:
    """A result of an attempt that is not the job's last, or attempts under way at the same time."""
    stored, attempts = store.jobs.result(job.task_id), store.jobs.attempts(job.task_id)
    beside = sum(one.ended_at is None or next_.started_at < one.ended_at for one, next_ in pairwise(attempts))
    return beside + (stored is not None and stored.attempt != job.attempt)


def _wrong_blame(store: SqlStore, task: Task, job: Job) -> int:
    """Theirs though it was ours, or ours though it was theirs."""
    if task.kind.blame not in THEIRS:
        return blamed(store, job)
    errors = [attempt.error for attempt in store.jobs.attempts(job.task_id) if attempt.error]
    told = [error["code"] for error in errors if error.get("details", {}).get("blame") in THEIRS]
    return sum(code != task.kind.code for code in told)


def left_behind(stack: Stack) -> list[str]:
    """Traces, folders, journals, mounts, loop devices, containers."""
    data_dir, root = stack.site.settings.data_dir, stack.site.root
    journals = [*data_dir.glob("attempts/*"), *data_dir.glob("programs/*")]
    containers = stack.engine.docker("ps", "-aq").stdout.decode().split() if stack.engine else []
    return [
        *leftovers(stack.site),
        *(f"journal {path.name}" for path in journals),
        *(f"mount {path}" for path in mounts_below(root)),
        *(f"loop device {line}" for line in loops_below(root)),
        *(f"container {name}" for name in containers),
    ]


def processes_of(root: Path) -> list[str]:
    """Processes that were told of this folder, by their command line or their environment."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", name, "cmdline").read_bytes(), Path("/proc", name, "environ").read_bytes()
        except OSError:
            continue
        if int(name) != os.getpid() and any(str(root).encode() in each for each in words):
            found.append(f"process {name}: {words[0].replace(bytes(1), b' ').decode(errors='replace')[:200]}")
    return found


def seconds_until_again(stack: Stack, jobs: Mapping[str, Task]) -> list[float]:
    """For each attempt that died with its worker: how long until the job's next one started."""
    found = []
    for task_id in jobs:
        attempts = stack.store.jobs.attempts(task_id)
        for pid, at in stack.killed:
            for one, next_ in pairwise(attempts):
                under_way = one.started_at.timestamp() < at and one.end is not None and one.end == "lost"
                if under_way and f"-{pid}-" in one.worker:
                    found.append(next_.started_at.timestamp() - at)
    return found
