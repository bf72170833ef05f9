"""Jobs as workers see them, in SQL: claims, leases, publishing, recovery."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import bindparam, func, or_, select, update

from autoscorer.store import moves
from autoscorer.store.clock import Instant
from autoscorer.store.leased import Decide, LeasedWork
from autoscorer.store.moves import LEASE_S, Change
from autoscorer.store.records import Hold, Job, Lease
from autoscorer.store.sql.applying import apply, change_job
from autoscorer.store.sql.database import Database
from autoscorer.store.sql.rows import job_of, until_values
from autoscorer.store.sql.tables import is_one_of, jobs
from autoscorer.store.sql.waiting import at, how_many, next_waiting, one_released, one_waiting
from autoscorer.store.transitions import GIVEN_OUT, LEASED, JobState
from autoscorer.utils.errors import AutoscorerError

_RELEASED = frozenset({JobState.RELEASED})
_NOT_HELD = Hold(held=False, cancelled=False)
_HELD = (  # `moves.holds` as conditions
    jobs.c.task_id == bindparam("its_id"),
    jobs.c.attempt == bindparam("its_attempt"),
    jobs.c.worker == bindparam("its_worker"),
    is_one_of(jobs.c.state, LEASED),
)
_LOOK = select(jobs.c.state).where(*_HELD)
_EXTEND = update(jobs).where(*_HELD).returning(jobs.c.state)


class SqlWork(LeasedWork):
    """`base.Work` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self,
        *,
        queues: Sequence[str],
        worker: str,
        lease_s: float = LEASE_S,
        unless_released_s: float | None = None,
    ) -> Job | None:
        taken = self._take(
            queues,
            1,
            lambda job, now: moves.claim(job, worker=worker, now=now, lease_s=lease_s),
            unless_released_s=unless_released_s,
        )
        return taken[0] if taken else None

    def release(
        self, *, queues: Sequence[str], at_most: int, lost_after_s: float, at_least: int = 1
    ) -> Sequence[Job]:
        # Asked first: it is most often so, and a transaction on this errand keeps all others off it.
        if at_most - self._released(queues) < at_least:
            return []
        return self._take(
            queues,
            at_most,
            lambda job, now: moves.release(job, now=now, lost_after_s=lost_after_s),
            counted=_RELEASED,
            light=True,  # forgotten, it is a message that comes for a queued job
        )

    def _released(self, queues: Sequence[str]) -> int:
        with self._database.reading() as connection:
            return connection.scalar(how_many(_RELEASED, tuple(queues))) or 0

    def prolong(self, *, queue: str, messages: int, lost_after_s: float) -> int:
        is_released = (is_one_of(jobs.c.state, _RELEASED), jobs.c.queue == queue)
        counted = select(func.count()).where(*is_released)
        with self._database.reading() as connection:
            released = connection.scalar(counted) or 0
        if not 0 < released <= messages:
            return released
        with self._database.alone("claim", light=True) as connection:
            released = connection.scalar(counted) or 0
            if released <= messages:
                until = until_values(self._database.now(connection).plus(lost_after_s))
                connection.execute(update(jobs).where(*is_released).values(until))
            return released

    def _take(
        self,
        queues: Sequence[str],
        at_most: int,
        decide: Decide,
        *,
        counted: frozenset[JobState] = frozenset(),
        light: bool = False,
        unless_released_s: float | None = None,
    ) -> list[Job]:
        """Up to ``at_most`` jobs, less those of ``queues`` that are in a ``counted`` state already."""
        taken: list[Change] = []
        if not queues or not self._anything_waits(queues, unless_released_s):
            return []
        with self._database.alone("claim", light=light) as connection:
            now = self._database.now(connection)
            # A cancel may hold the row: whoever asks next finds it gone or free.
            query = self._database.locked(next_waiting(tuple(queues)), of=jobs, skip=True)
            if counted:
                at_most -= connection.scalar(how_many(counted, tuple(queues))) or 0
            while len(taken) < at_most:
                row = connection.execute(query, at(now)).mappings().first()
                change = decide(job_of(row), now) if row else None
                if row is None or change is None:
                    break
                apply(connection, job_of(row), change, now)
                taken.append(change)
        for made in taken:
            self._database.hearers.tell(made, now)
        return [made.job for made in taken]

    def _anything_waits(self, queues: Sequence[str], unless_released_s: float | None) -> bool:
        """Asked first, so that workers with nothing to do take no lock from those who have."""
        with self._database.reading() as connection:
            if unless_released_s is not None:
                until = self._database.now(connection).plus(unless_released_s)
                if connection.execute(one_released(tuple(queues)), at(until)).first():
                    return False
            return any(connection.execute(one_waiting(queue)).first() for queue in queues)

    def claim_job(
        self,
        task_id: str,
        *,
        worker: str,
        lease_s: float = LEASE_S,
        fits: Callable[[Job], bool] = lambda _job: True,
    ) -> Job | None:
        def decide(job: Job, now: Instant) -> Change | None:
            return moves.claim(job, worker=worker, now=now, lease_s=lease_s) if fits(job) else None

        job, claimed = change_job(self._database, task_id, decide)
        return job if claimed else None

    def beat(self, lease: Lease, *, lease_s: float = LEASE_S) -> Hold:
        with self._database.writing(light=True) as connection:
            until = until_values(self._database.now(connection).plus(lease_s))
            return _hold(connection.scalar(_EXTEND.values(until), _its(lease)))

    def look(self, lease: Lease) -> Hold:
        with self._database.reading() as connection:
            return _hold(connection.scalar(_LOOK, _its(lease)))

    def _change(self, lease: Lease, decide: Decide, *, light: bool = False) -> Job:
        return change_job(self._database, lease.task_id, decide, light=light)[0]

    def unblock(self) -> int:
        return self._database.end_standing()

    def overdue(self, *, limit: int = 100) -> Sequence[str]:
        with self._database.reading() as connection:
            now = self._database.now(connection)
            passed = or_(jobs.c.until_s <= now.elapsed_s, jobs.c.until_era != now.era)
            query = select(jobs.c.task_id).where(is_one_of(jobs.c.state, GIVEN_OUT), passed)
            return tuple(connection.scalars(query.order_by(jobs.c.until_s).limit(limit)))

    def lapse(self, task_id: str) -> Job | None:
        try:
            job, lapsed = change_job(self._database, task_id, lambda job, now: moves.lapse(job, now=now))
        except AutoscorerError as exc:
            if exc.code == "NOT_FOUND":  # removed since it was listed
                return None
            raise
        return job if lapsed else None


def _its(lease: Lease) -> dict[str, str | int]:
    """The parameters of `_HELD`."""
    return {"its_id": lease.task_id, "its_attempt": lease.attempt, "its_worker": lease.worker}


def _hold(state: str | None) -> Hold:
    return Hold(held=True, cancelled=state == JobState.CANCELLING) if state else _NOT_HELD
