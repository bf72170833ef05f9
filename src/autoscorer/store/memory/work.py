"""Jobs as workers see them, in memory."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

from autoscorer.store import moves
from autoscorer.store.clock import Instant
from autoscorer.store.leased import Decide, LeasedWork
from autoscorer.store.memory.rooms import Rooms
from autoscorer.store.moves import LEASE_S
from autoscorer.store.records import Hold, Job, Lease
from autoscorer.store.transitions import GIVEN_OUT, JobState


class MemoryWork(LeasedWork):
    """`base.Work` in memory."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def claim(
        self,
        *,
        queues: Sequence[str],
        worker: str,
        lease_s: float = LEASE_S,
        unless_released_s: float | None = None,
    ) -> Job | None:
        if unless_released_s is not None and self._on_their_way(queues, unless_released_s):
            return None
        taken = self._take(
            queues, 1, lambda job, now: moves.claim(job, worker=worker, now=now, lease_s=lease_s)
        )
        return taken[0] if taken else None

    def release(
        self, *, queues: Sequence[str], at_most: int, lost_after_s: float, at_least: int = 1
    ) -> Sequence[Job]:
        with self._rooms.lock:
            free = at_most - sum(len(self._released(queue)) for queue in queues)
            if free < at_least:
                return []
            return self._take(
                queues, free, lambda job, now: moves.release(job, now=now, lost_after_s=lost_after_s)
            )

    def prolong(self, *, queue: str, messages: int, lost_after_s: float) -> int:
        with self._rooms.lock:
            released, now = self._released(queue), self._rooms.clock()
            if messages >= len(released):
                for job in released:
                    until = now.plus(lost_after_s)
                    self._rooms.jobs[job.task_id] = dataclasses.replace(job, until=until)
            return len(released)

    def _on_their_way(self, queues: Sequence[str], seconds: float) -> bool:
        with self._rooms.lock:
            until = self._rooms.clock().plus(seconds)
            released = [job for queue in queues for job in self._released(queue)]
            return any(job.until is not None and not job.until.passed(until) for job in released)

    def _released(self, queue: str) -> list[Job]:
        everything = self._rooms.jobs.values()
        return [job for job in everything if job.state is JobState.RELEASED and job.queue == queue]

    def _take(self, queues: Sequence[str], at_most: int, decide: Decide) -> list[Job]:
        taken: list[Job] = []
        with self._rooms.lock:
            now = self._rooms.clock()
            while len(taken) < at_most and (job := self._next_waiting(queues, now)) is not None:
                change = decide(job, now)
                if change is None:
                    break
                taken.append(self._rooms.apply(change, now))
        return taken

    def _next_waiting(self, queues: Sequence[str], now: Instant) -> Job | None:
        everything = self._rooms.jobs.values()
        given_out = Counter(job.organisation_id for job in everything if job.state in GIVEN_OUT)
        waiting = [
            job
            for job in everything
            if job.state is JobState.QUEUED
            and job.queue in queues
            and (job.until is None or job.until.passed(now))
        ]
        return min(
            waiting,
            key=lambda job: (-job.priority, given_out[job.organisation_id], job.seq),
            default=None,
        )

    def claim_job(
        self,
        task_id: str,
        *,
        worker: str,
        lease_s: float = LEASE_S,
        fits: Callable[[Job], bool] = lambda _job: True,
    ) -> Job | None:
        with self._rooms.lock:
            job, now = self._rooms.job(task_id), self._rooms.clock()
            change = moves.claim(job, worker=worker, now=now, lease_s=lease_s) if fits(job) else None
            return self._rooms.apply(change, now) if change else None

    def beat(self, lease: Lease, *, lease_s: float = LEASE_S) -> Hold:
        with self._rooms.lock:
            hold = self.look(lease)
            if hold.held:
                until = self._rooms.clock().plus(lease_s)
                self._rooms.jobs[lease.task_id] = dataclasses.replace(
                    self._rooms.jobs[lease.task_id], until=until
                )
            return hold

    def look(self, lease: Lease) -> Hold:
        with self._rooms.lock:
            job = self._rooms.jobs.get(lease.task_id)
        held = job is not None and moves.holds(job, lease)
        return Hold(held=held, cancelled=held and job is not None and job.state is JobState.CANCELLING)

    def _change(self, lease: Lease, decide: Decide, *, light: bool = False) -> Job:
        with self._rooms.lock:
            job, now = self._rooms.job(lease.task_id), self._rooms.clock()
            change = decide(job, now)
            return self._rooms.apply(change, now) if change else job

    def unblock(self) -> int:
        return 0  # there is but one process

    def overdue(self, *, limit: int = 100) -> Sequence[str]:
        with self._rooms.lock:
            now = self._rooms.clock()
            late = [
                (job.until.elapsed_s, job.task_id)
                for job in self._rooms.jobs.values()
                if job.state in GIVEN_OUT and job.until is not None and job.until.passed(now)
            ]
        return tuple(task_id for _, task_id in sorted(late)[:limit])

    def lapse(self, task_id: str) -> Job | None:
        with self._rooms.lock:
            job, now = self._rooms.jobs.get(task_id), self._rooms.clock()
            change = moves.lapse(job, now=now) if job else None
            return self._rooms.apply(change, now) if change else None
