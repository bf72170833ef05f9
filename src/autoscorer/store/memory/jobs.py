"""Jobs as their submitters see them, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import uuid4

from autoscorer.store import moves
from autoscorer.store.conflicts import key_conflict, label_conflict, no_organisation, retry_conflict
from autoscorer.store.memory.rooms import Rooms
from autoscorer.store.records import (
    Attempt,
    CallbackState,
    Event,
    Job,
    JobQuery,
    NewJob,
    Page,
    StoredResult,
    Submission,
    SubmitOutcome,
)
from autoscorer.store.transitions import ACTIVE, FINAL, MAY_RUN, WAITING, JobState
from autoscorer.utils.errors import AutoscorerError


class MemoryJobs:
    """`base.Jobs` in memory."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def submit(self, new: NewJob) -> Submission:
        with self._rooms.lock:
            if new.organisation_id not in self._rooms.organisations:
                raise no_organisation(new.organisation_id)
            standing = self._in_its_place(new)
            if standing is not None:
                return standing
            now = self._rooms.clock()
            job = moves.new_job(new, task_id=str(uuid4()), now=now)
            change = moves.submitted(job, seq=self._rooms.next_seq())
            return Submission(outcome=SubmitOutcome.CREATED, job=self._rooms.apply(change, now))

    def submit_all(self, asked: Sequence[NewJob]) -> Sequence[Submission | Exception]:
        return [self._outcome(new) for new in asked]

    def _outcome(self, new: NewJob) -> Submission | Exception:
        try:
            return self.submit(new)
        except AutoscorerError as exc:
            return exc

    def _in_its_place(self, new: NewJob) -> Submission | None:
        own = [job for job in self._rooms.jobs.values() if job.organisation_id == new.organisation_id]
        for job in own:
            if new.idempotency_key is not None and job.idempotency_key == new.idempotency_key:
                if job.request_sha256 != new.request_sha256:
                    raise key_conflict(job)
                return Submission(outcome=SubmitOutcome.REPLAYED, job=job)
        active = [job for job in own if job.state in ACTIVE]
        for job in active:
            if job.workspace == new.workspace:
                return Submission(outcome=SubmitOutcome.ALREADY_ACTIVE, job=job)
        for job in active:
            if job.job_id == new.job_id:
                raise label_conflict(job)
        return None

    def get(self, task_id: str) -> Job | None:
        with self._rooms.lock:
            return self._rooms.jobs.get(task_id)

    def page(self, query: JobQuery) -> Page:
        with self._rooms.lock:
            found = [job for job in self._rooms.jobs.values() if _matches(job, query)]
        found.sort(key=lambda job: -job.seq)
        shown = tuple(found[: query.limit])
        return Page(jobs=shown, next=shown[-1].seq if len(found) > query.limit else None)

    def ahead(self, job: Job, *, at_most: int) -> int | None:
        if job.state not in WAITING:
            return None
        place = (-job.priority, job.seq)
        with self._rooms.lock:
            waiting = [
                other
                for other in self._rooms.jobs.values()
                if other.queue == job.queue and other.state in WAITING
            ]
        return min(at_most, sum((-other.priority, other.seq) < place for other in waiting))

    def cancel(self, task_id: str, *, by: str) -> Job:
        with self._rooms.lock:
            job, now = self._rooms.job(task_id), self._rooms.clock()
            change = moves.cancel(job, by=by, now=now)
            return self._rooms.apply(change, now) if change else job

    def retry(self, task_id: str, *, by: str) -> Job:
        with self._rooms.lock:
            job = self._rooms.job(task_id)
            change = moves.retry(job, by=by)
            for other in self._rooms.jobs.values():
                same = job.workspace == other.workspace or job.job_id == other.job_id
                if same and other.state in ACTIVE and other.organisation_id == job.organisation_id:
                    raise retry_conflict(task_id)
            return self._rooms.apply(change, self._rooms.clock())

    def attempts(self, task_id: str) -> Sequence[Attempt]:
        with self._rooms.lock:
            return tuple(self._rooms.attempts.get(task_id, ()))

    def events(self, task_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        with self._rooms.lock:
            later = [event for event in self._rooms.events.get(task_id, ()) if event.number > after]
        return tuple(later[:limit])

    def result(self, task_id: str) -> StoredResult | None:
        with self._rooms.lock:
            results = self._rooms.results.get(task_id)
        return results[-1] if results else None

    def with_result(self, task_ids: Collection[str]) -> frozenset[str]:
        with self._rooms.lock:
            return frozenset(
                task_id
                for task_id in task_ids
                if (results := self._rooms.results.get(task_id))
                and (job := self._rooms.jobs[task_id])
                and results[-1].is_of(job.state, job.attempt)
            )

    def remove_ended(
        self, *, before: datetime, states: Collection[JobState] = FINAL, limit: int = 100
    ) -> Sequence[Job]:
        with self._rooms.lock:
            pending = {
                callback.task_id
                for callback in self._rooms.callbacks.values()
                if callback.state is CallbackState.PENDING
            }
            ended = [
                (job.finished_at, job.seq, job)
                for job in self._rooms.jobs.values()
                if job.state in FINAL.intersection(states)
                and job.finished_at is not None
                and job.finished_at < before
                and job.task_id not in pending
            ]
            removed = tuple(job for _, _, job in sorted(ended, key=lambda one: one[:2])[:limit])
            for job in removed:
                self._rooms.remove(job.task_id)
            return removed

    def pinned(self, scorers: Collection[str]) -> frozenset[str]:
        with self._rooms.lock:
            named = {job.scorer for job in self._rooms.jobs.values() if job.state in MAY_RUN}
        return frozenset(pin for pin in scorers if pin in named)

    def counts(self) -> Mapping[tuple[str, JobState], int]:
        with self._rooms.lock:
            active = [job for job in self._rooms.jobs.values() if job.state in ACTIVE]
        return Counter((job.queue, job.state) for job in active)

    def waiting_since(self) -> datetime | None:
        with self._rooms.lock:
            queued = [job for job in self._rooms.jobs.values() if job.state is JobState.QUEUED]
            first = min(queued, key=lambda job: job.seq, default=None)
            return self._rooms.events[first.task_id][-1].at if first else None


def _matches(job: Job, query: JobQuery) -> bool:
    asked = (query.organisation_id, query.submitted_by, query.job_id, query.workspace, query.idempotency_key)
    given = (job.organisation_id, job.submitted_by, job.job_id, job.workspace, job.idempotency_key)
    return (
        all(wanted is None or wanted == value for wanted, value in zip(asked, given, strict=True))
        and (query.states is None or job.state in query.states)
        and (query.before is None or job.seq < query.before)
    )
