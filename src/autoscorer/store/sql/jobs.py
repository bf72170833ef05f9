"""Jobs as their submitters see them, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, and_, delete, func, literal_column, or_, select
from sqlalchemy.exc import IntegrityError

from autoscorer.store import moves
from autoscorer.store.clock import Instant
from autoscorer.store.conflicts import (
    key_conflict,
    label_conflict,
    no_organisation,
    no_place,
    retry_conflict,
)
from autoscorer.store.moves import Change
from autoscorer.store.records import (
    Attempt,
    Event,
    Job,
    JobQuery,
    NewJob,
    Page,
    StoredResult,
    Submission,
    SubmitOutcome,
)
from autoscorer.store.sql.applying import change_job, note_events
from autoscorer.store.sql.database import Database
from autoscorer.store.sql.rows import attempt_of, event_of, job_of, result_of, values_of
from autoscorer.store.sql.tables import attempts, callbacks, events, is_one_of, jobs, pending, results
from autoscorer.store.sql.together import Together
from autoscorer.store.transitions import ACTIVE, FINAL, MAY_RUN, WAITING, JobState

_TRIES = 5


@dataclass(frozen=True)
class _Done:
    """What became of a submission; neither when there was no room and now there is."""

    now: Instant
    created: Change | None
    standing: Submission | None


class SqlJobs:
    """`base.Jobs` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Made once: with its values in it, SQLAlchemy would work 0.3 ms on the statement at each submission.
        self._insertion = database.insert(jobs).on_conflict_do_nothing().returning(jobs.c.seq)
        self._submissions = Together(self._submit_all)

    def submit(self, new: NewJob) -> Submission:
        for _ in range(_TRIES):
            # A server has many writers at once, so each goes by itself there.
            is_server = self._database.is_server
            done = self._submit_all([new])[0] if is_server else self._submissions.do(new)
            if done.created is not None:
                self._database.hearers.tell(done.created, done.now)
                return Submission(outcome=SubmitOutcome.CREATED, job=done.created.job)
            if done.standing is not None:
                return done.standing
            # What stood in the way ended between two statements: there is room now.
        raise no_place(new)

    def _submit_all(self, asked: Sequence[NewJob]) -> list[_Done]:
        """One transaction for all of them; what one is refused for is raised, and none is kept."""
        with self._database.writing() as connection:
            now = self._database.now(connection)
            done = [self._submit(connection, new, now) for new in asked]
            note_events(connection, [one.created for one in done if one.created is not None], now)
            return done

    def _submit(self, connection: Connection, new: NewJob, now: Instant) -> _Done:
        created = self._insert(connection, new, now)
        return _Done(now, created, None if created is not None else _in_its_place(connection, new))

    def _insert(self, connection: Connection, new: NewJob, now: Instant) -> Change | None:
        """The new job, its first event not noted yet; None if another job is in its way."""
        job = moves.new_job(new, task_id=str(uuid4()), now=now)
        values = values_of(job)
        del values["seq"]
        try:
            seq = connection.scalar(self._insertion, values)
        except IntegrityError as exc:
            raise no_organisation(new.organisation_id) from exc
        if seq is None:
            return None
        return moves.submitted(job, seq=seq)

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


def _in_its_place(connection: Connection, new: NewJob) -> Submission | None:
    """What a submission that found no room is answered with. Raises CONFLICT."""
    own = jobs.c.organisation_id == new.organisation_id
    active = is_one_of(jobs.c.state, ACTIVE)
    if new.idempotency_key is not None:
        standing = _one(connection, own, jobs.c.idempotency_key == new.idempotency_key)
        if standing is not None and standing.request_sha256 != new.request_sha256:
            raise key_conflict(standing)
        if standing is not None:
            return Submission(outcome=SubmitOutcome.REPLAYED, job=standing)
    if (standing := _one(connection, own, active, jobs.c.workspace == new.workspace)) is not None:
        return Submission(outcome=SubmitOutcome.ALREADY_ACTIVE, job=standing)
    if (standing := _one(connection, own, active, jobs.c.job_id == new.job_id)) is not None:
        raise label_conflict(standing)
    return None


def _one(connection: Connection, *where: ColumnElement[bool]) -> Job | None:
    row = connection.execute(select(jobs).where(*where)).mappings().one_or_none()
    return job_of(row) if row else None


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
