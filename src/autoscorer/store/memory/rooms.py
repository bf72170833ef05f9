"""What the parts of the memory store share: their dictionaries, one lock, one clock."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from uuid import uuid4

from autoscorer.store.clock import Clock, Deadline, Instant
from autoscorer.store.hearers import Hearers
from autoscorer.store.moves import Change, events_of, receiver_of
from autoscorer.store.records import (
    Attempt,
    Callback,
    CallbackState,
    Event,
    Job,
    Organisation,
    Presence,
    StoredResult,
    StoredScorer,
    StoredToken,
)
from autoscorer.utils.errors import AutoscorerError


@dataclass
class Rooms:
    """All that a memory store holds. Whoever reads or changes it holds ``lock``."""

    clock: Clock
    lock: threading.RLock = field(default_factory=threading.RLock)
    jobs: dict[str, Job] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    results: dict[str, list[StoredResult]] = field(default_factory=dict)
    callbacks: dict[str, Callback] = field(default_factory=dict)
    scorers: dict[tuple[str, str], StoredScorer] = field(default_factory=dict)
    organisations: dict[str, Organisation] = field(default_factory=dict)
    tokens: dict[str, StoredToken] = field(default_factory=dict)
    last_seq: int = 0
    duties: dict[str, tuple[str, Deadline]] = field(default_factory=dict)
    hearers: Hearers = field(default_factory=Hearers)
    workers: dict[str, tuple[Presence, Deadline]] = field(default_factory=dict)

    def job(self, task_id: str) -> Job:
        if task_id not in self.jobs:
            raise AutoscorerError("NOT_FOUND", f"There is no job {task_id}.")
        return self.jobs[task_id]

    def next_seq(self) -> int:
        """A number that was never given before."""
        self.last_seq += 1
        return self.last_seq

    def remove(self, task_id: str) -> None:
        """A job with all that belongs to it."""
        del self.jobs[task_id]
        for kept in (self.attempts, self.events, self.results):
            kept.pop(task_id, None)
        self.callbacks = {key: one for key, one in self.callbacks.items() if one.task_id != task_id}

    def apply(self, change: Change, now: Instant) -> Job:
        """Write a decided change down."""
        job = change.job
        self.jobs[job.task_id] = job
        self.note(change, now)
        attempts = self.attempts.setdefault(job.task_id, [])
        if change.opened is not None:
            attempts.append(change.opened)
        if change.ended is not None:
            attempts[-1] = _ended(attempts[-1], change, now)
        if change.result is not None:
            result = StoredResult(
                task_id=job.task_id, attempt=job.attempt, body=change.result, published_at=now.at
            )
            self.results.setdefault(job.task_id, []).append(result)
        if change.calls_back:
            callback = _callback(job, now)
            self.callbacks[callback.callback_id] = callback
        self.hearers.tell(change, now)
        return job

    def note(self, change: Change, now: Instant) -> None:
        self.events.setdefault(change.job.task_id, []).extend(events_of(change, now))


def _ended(attempt: Attempt, change: Change, now: Instant) -> Attempt:
    if change.ended is None:
        return attempt
    return Attempt(
        task_id=attempt.task_id,
        number=attempt.number,
        worker=attempt.worker,
        started_at=attempt.started_at,
        ended_at=now.at,
        end=change.ended.end,
        error=change.ended.error,
    )


def _callback(job: Job, now: Instant) -> Callback:
    return Callback(
        callback_id=str(uuid4()),
        task_id=job.task_id,
        organisation_id=job.organisation_id,
        url=job.callback_url or "",
        receiver=receiver_of(job.callback_url or ""),
        attempt=job.attempt,
        job_state=job.state,
        error=job.error,
        state=CallbackState.PENDING,
        tries=0,
        until=now.plus(0),
        last_error=None,
        created_at=now.at,
        finished_at=None,
    )
