"""Jobs as their submitters see them, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, literal_column, or_, select
from sqlalchemy.exc import IntegrityError

from autoscorer.store import moves
from autoscorer.store.conflicts import retry_conflict
from autoscorer.store.records import (
    Attempt,
    Event,
    Job,
    JobQuery,
    NewJob,
    Page,
    StoredResult,
    Submission,
)
from autoscorer.store.sql.applying import change_job
from autoscorer.store.sql.database import Database
from autoscorer.store.sql.rows import attempt_of, event_of, job_of, result_of
from autoscorer.store.sql.submitting import SqlSubmissions
from autoscorer.store.sql.tables import attempts, callbacks, events, is_one_of, jobs, pending, results
from autoscorer.store.transitions import ACTIVE, FINAL, MAY_RUN, WAITING, JobState


class SqlJobs:
    """`base.Jobs` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._submissions = SqlSubmissions(database)

    def submit(self, new: NewJob) -> Submission:
        (outcome,) = self.submit_all([new])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def submit_all(self, asked: Sequence[NewJob]) -> Sequence[Submission | Exception]:
        return self._submissions.submit_all(asked)

    def get(self, task_id: str) -> Job | None:
        with self._database.reading() as connection:
            row = connection.execute(select(jobs).where(jobs.c.task_id == task_id)).mappings().one_or_none()
        return job_of(row) if row else None

    def page(self, query: JobQuery) -> Page:
        with self._database.reading() as connection:
            rows = [
                row
                for where in _conditions(query)
                for row in connection.execute(
                    select(jobs).where(*where).order_by(jobs.c.seq.desc()).limit(query.limit + 1)
                ).mappings()
            ]
        found = sorted((job_of(row) for row in rows), key=lambda job: -job.seq)
        shown = tuple(found[: query.limit])
        return Page(jobs=shown, next=shown[-1].seq if len(found) > query.limit else None)

    def ahead(self, job: Job, *, at_most: int) -> int | None:
        if job.state not in WAITING:
            return None
        first = or_(
            jobs.c.priority > job.priority, and_(jobs.c.priority == job.priority, jobs.c.seq < job.seq)
        )
        found = 0
        with self._database.reading() as connection:
            for state in sorted(WAITING):  # each from its own index
                where = jobs.c.state == literal_column(f"'{state}'"), jobs.c.queue == job.queue, first
                some = select(jobs.c.seq).where(*where).limit(at_most).subquery()
                found += connection.scalar(select(func.count()).select_from(some)) or 0
        return min(at_most, found)

    def cancel(self, task_id: str, *, by: str) -> Job:
        return change_job(self._database, task_id, lambda job, now: moves.cancel(job, by=by, now=now))[0]

    def retry(self, task_id: str, *, by: str) -> Job:
        try:
            return change_job(self._database, task_id, lambda job, _now: moves.retry(job, by=by))[0]
        except IntegrityError as exc:
            raise retry_conflict(task_id) from exc

    def attempts(self, task_id: str) -> Sequence[Attempt]:
        query = select(attempts).where(attempts.c.task_id == task_id).order_by(attempts.c.number)
        with self._database.reading() as connection:
            return tuple(attempt_of(row) for row in connection.execute(query).mappings())

    def events(self, task_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        query = select(events).where(events.c.task_id == task_id, events.c.number > after)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(events.c.number).limit(limit)).mappings()
            return tuple(event_of(row) for row in rows)

    def result(self, task_id: str) -> StoredResult | None:
        query = select(results).where(results.c.task_id == task_id).order_by(results.c.attempt.desc())
        with self._database.reading() as connection:
            row = connection.execute(query.limit(1)).mappings().one_or_none()
        return result_of(row) if row else None

    def with_result(self, task_ids: Collection[str]) -> frozenset[str]:
        if not task_ids:
            return frozenset()
        latest = and_(results.c.task_id == jobs.c.task_id, results.c.attempt == jobs.c.attempt)
        own = (jobs.c.task_id.in_(task_ids), jobs.c.state != JobState.CANCELLED)  # see `StoredResult.is_of`
        query = select(jobs.c.task_id).join(results, latest).where(*own)
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))

    def remove_ended(
        self, *, before: datetime, states: Collection[JobState] = FINAL, limit: int = 100
    ) -> Sequence[Job]:
        ended_so = is_one_of(jobs.c.state, FINAL.intersection(states))
        to_be_told = select(callbacks.c.seq).where(callbacks.c.task_id == jobs.c.task_id, pending).exists()
        ended = select(jobs).where(ended_so, jobs.c.finished_at < before, ~to_be_told)
        with self._database.writing() as connection:
            query = self._database.locked(ended.order_by(jobs.c.finished_at).limit(limit), skip=True)
            removed = tuple(job_of(row) for row in connection.execute(query).mappings())
            # What belongs to them goes with them: ON DELETE CASCADE.
            connection.execute(delete(jobs).where(jobs.c.seq.in_([job.seq for job in removed])))
            return removed

    def pinned(self, scorers: Collection[str]) -> frozenset[str]:
        # Asked seldom, so without an index that every submission would have to keep.
        query = select(jobs.c.scorer).where(is_one_of(jobs.c.state, MAY_RUN), jobs.c.scorer.in_(scorers))
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query.distinct()))

    def counts(self) -> Mapping[tuple[str, JobState], int]:
        # State by state: those that are queued, perhaps very many, are counted on their own index alone.
        with self._database.reading() as connection:
            return {
                (queue, state): count
                for state in ACTIVE
                for queue, count in connection.execute(
                    select(jobs.c.queue, func.count())
                    .where(is_one_of(jobs.c.state, frozenset({state})))
                    .group_by(jobs.c.queue)
                )
            }

    def waiting_since(self) -> datetime | None:
        queued = is_one_of(jobs.c.state, frozenset({JobState.QUEUED}))
        first = select(jobs.c.task_id, jobs.c.events).where(queued).order_by(jobs.c.seq).limit(1).subquery()
        # Its latest event is what had it wait: submitted, requeued, retried.
        event = select(events.c.at).join(
            first, (events.c.task_id == first.c.task_id) & (events.c.number == first.c.events)
        )
        with self._database.reading() as connection:
            return connection.scalar(event)


def _conditions(query: JobQuery) -> Iterator[list[ColumnElement[bool]]]:
    """The list's conditions, once for each state: each is read off an index, newest first, unsorted."""
    given = {
        jobs.c.organisation_id: query.organisation_id,
        jobs.c.submitted_by: query.submitted_by,
        jobs.c.job_id: query.job_id,
        jobs.c.workspace: query.workspace,
        jobs.c.idempotency_key: query.idempotency_key,
    }
    where = [column == value for column, value in given.items() if value is not None]
    if query.before is not None:
        where.append(jobs.c.seq < query.before)
    if query.states is None:
        yield where
    for state in sorted(query.states or ()):
        yield [*where, jobs.c.state == literal_column(f"'{JobState(state)}'")]
