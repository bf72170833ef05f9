"""Holding a lease while working: the heartbeat, the signal to stop; and recovery of what nobody holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from autoscorer.store.base import Work
from autoscorer.store.lasting import Lasting
from autoscorer.store.moves import HEARTBEAT_S, LEASE_S
from autoscorer.store.records import Hold, Job, Lease
from autoscorer.utils.errors import AutoscorerError

LOOK_S = 2.0  # a cancel is heard of this soon
BESIDE_S = 0.5
_RETRY_S = 1.0
_MARGIN_S = 5.0  # what it takes to stop, before somebody else may start
_LASTING = Lasting(BESIDE_S)


class Interruption(StrEnum):
    """Why a holder is to stop."""

    CANCELLED = "cancelled"
    LEASE_LOST = "lease_lost"


def lease_of(job: Job) -> Lease:
    """The lease that a claim gave. Raises ValueError for a job that nobody has claimed."""
    if job.worker is None:
        raise ValueError(f"nobody holds job {job.task_id}")
    return Lease(task_id=job.task_id, attempt=job.attempt, worker=job.worker)


def is_over(work: Work, text: str) -> bool:
    """Whether the lease that was written down as ``text`` has ended; what is no lease never began."""
    lease = Lease.parse(text)
    return lease is None or not work.look(lease).held


class LeaseKeeper:
    """When to beat, when to look, when to give up. `step` acts; `stop` only answers and never waits.

    Without a confirmed heartbeat for `LEASE_S` less a margin it counts the lease as lost, whatever the
    reason: another may have the job. A clock that jumps ahead makes it give up early, no more.
    """

    def __init__(self, work: Work, lease: Lease, *, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._work = work
        self._lease = lease
        self._elapsed = elapsed
        started_s = elapsed()
        self._confirmed_s = started_s
        self._beat_due_s = started_s + HEARTBEAT_S
        self._look_due_s = started_s + LOOK_S
        self._reason: Interruption | None = None
        self.is_heard = True  # whether the store answered when it was last asked

    def stop(self) -> Interruption | None:
        """Why to stop now, if there is a reason. A lease that was lost stays lost."""
        if self._elapsed() - self._confirmed_s > LEASE_S - _MARGIN_S:
            self._reason = Interruption.LEASE_LOST
        return self._reason

    def step(self) -> float:
        """Do what is due; answers how many seconds until there is something to do again."""
        now_s = self._elapsed()
        try:
            if now_s >= self._beat_due_s:
                self._hear(self._work.beat(self._lease))
                self._confirmed_s, self._beat_due_s = now_s, now_s + HEARTBEAT_S
            elif now_s >= self._look_due_s:
                self._hear(self._work.look(self._lease))
                self._look_due_s = now_s + LOOK_S
        except AutoscorerError as exc:
            if exc.code != "STORE_UNAVAILABLE":
                raise
            self.is_heard = False
            return _RETRY_S
        self.is_heard = True
        return max(0.0, min(self._beat_due_s, self._look_due_s) - self._elapsed())

    def _hear(self, hold: Hold) -> None:
        if not hold.held:
            self._reason = Interruption.LEASE_LOST
        elif hold.cancelled:
            self._reason = self._reason or Interruption.CANCELLED


@contextmanager
def holding(work: Work, lease: Lease, *, beside: Callable[[], None] = lambda: None) -> Iterator[LeaseKeeper]:
    """Keep ``lease`` in the background while the block runs; ask the keeper's `stop` in it.

    ``beside``, which must not raise, is called there every `BESIDE_S` while the store answers: the lease
    comes first, and is not to wait for what else could be told.
    """
    keeper, ended = LeaseKeeper(work, lease), threading.Event()

    def keep() -> None:
        wait_s = 0.0
        while not ended.wait(min(wait_s, BESIDE_S)):
            wait_s = keeper.step()
            if keeper.is_heard:
                beside()

    with _LASTING.beside(keep, ended, name=f"lease of {lease.task_id}"):
        yield keeper


def recover(work: Work, *, limit: int = 100) -> tuple[Job, ...]:
    """Recover up to ``limit`` jobs whose lease or release has run out; answers how each stands now."""
    recovered = (work.lapse(task_id) for task_id in work.overdue(limit=limit))
    return tuple(job for job in recovered if job is not None)
