"""Submissions in SQL: those of a moment in one transaction, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, select
from sqlalchemy.exc import IntegrityError

from autoscorer.store import moves
from autoscorer.store.conflicts import key_conflict, label_conflict, no_organisation, no_place
from autoscorer.store.moves import Change
from autoscorer.store.records import Job, NewJob, Submission, SubmitOutcome
from autoscorer.store.sql.applying import note_events
from autoscorer.store.sql.database import Database, is_contended
from autoscorer.store.sql.rows import job_of, values_of
from autoscorer.store.sql.tables import is_one_of, jobs
from autoscorer.store.transitions import ACTIVE
from autoscorer.utils.errors import AutoscorerError

_TRIES = 5


class SqlSubmissions:
    """Where new jobs are written down. A transaction that is waited for until it is on the disk costs ten
    jobs as much as one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Made once: with its values in it, SQLAlchemy would work 0.3 ms on the statement at each submission.
        self._insertion = database.insert(jobs).on_conflict_do_nothing().returning(jobs.c.task_id, jobs.c.seq)

    def submit_all(self, asked: Sequence[NewJob]) -> list[Submission | Exception]:
        """See `base.Jobs.submit_all`."""
        found: dict[int, Submission | Exception] = {}
        for _ in range(_TRIES):
            left = [number for number in range(len(asked)) if number not in found]
            outcomes = self._tried([asked[number] for number in left])
            pairs = zip(left, outcomes, strict=True)
            found |= {number: outcome for number, outcome in pairs if outcome is not None}
            if len(found) == len(asked):
                break
            # What stood in the way of the others ended between two statements: there is room now.
        return [found.get(number) or no_place(new) for number, new in enumerate(asked)]

    def _tried(self, asked: Sequence[NewJob]) -> list[Submission | Exception | None]:
        """What became of each; None where there was no room and now there is."""
        try:
            return self._kept(asked)
        except Exception as exc:  # boundary between callers: what is wrong with one fails with it alone
            if len(asked) == 1:
                return [_told(exc, asked[0])]
            is_nobodys = isinstance(exc, AutoscorerError) and exc.code == "STORE_UNAVAILABLE"
            if is_nobodys and not is_contended(exc):
                return [exc] * len(asked)  # each by itself would wait as long once more
        return [outcome for new in asked for outcome in self._tried([new])]

    def _kept(self, asked: Sequence[NewJob]) -> list[Submission | Exception | None]:
        """One transaction for all of them, or none is kept."""
        with self._database.writing() as connection:
            now = self._database.now(connection)
            drafts = [moves.new_job(new, task_id=str(uuid4()), now=now) for new in asked]
            seqs = self._inserted(connection, drafts)
            created = [
                moves.submitted(job, seq=seqs[job.task_id]) if job.task_id in seqs else None for job in drafts
            ]
            kept = [change for change in created if change is not None]
            note_events(connection, kept, now)
            outcomes = [
                _in_its_place(connection, new) if change is None else _created(change)
                for new, change in zip(asked, created, strict=True)
            ]
        for change in kept:
            self._database.hearers.tell(change, now)
        return outcomes

    def _inserted(self, connection: Connection, drafts: Sequence[Job]) -> dict[str, int]:
        """The numbers of those that were in nobody's way, by ``task_id``."""
        rows = [values_of(job) for job in drafts]
        for row in rows:
            del row["seq"]
        return {row.task_id: row.seq for row in connection.execute(self._insertion, rows)}


def _created(change: Change) -> Submission:
    return Submission(outcome=SubmitOutcome.CREATED, job=change.job)


def _told(exc: Exception, new: NewJob) -> Exception:
    if not isinstance(exc, IntegrityError):
        return exc
    error = no_organisation(new.organisation_id)
    error.__cause__ = exc
    return error


def _in_its_place(connection: Connection, new: NewJob) -> Submission | Exception | None:
    """What a submission that found no room is answered with, be it CONFLICT."""
    own = jobs.c.organisation_id == new.organisation_id
    active = is_one_of(jobs.c.state, ACTIVE)
    if new.idempotency_key is not None:
        standing = _one(connection, own, jobs.c.idempotency_key == new.idempotency_key)
        if standing is not None and standing.request_sha256 != new.request_sha256:
            return key_conflict(standing)
        if standing is not None:
            return Submission(outcome=SubmitOutcome.REPLAYED, job=standing)
    if (standing := _one(connection, own, active, jobs.c.workspace == new.workspace)) is not None:
        return Submission(outcome=SubmitOutcome.ALREADY_ACTIVE, job=standing)
    if (standing := _one(connection, own, active, jobs.c.job_id == new.job_id)) is not None:
        return label_conflict(standing)
    return None


def _one(connection: Connection, *where: ColumnElement[bool]) -> Job | None:
    row = connection.execute(select(jobs).where(*where)).mappings().one_or_none()
    return job_of(row) if row else None
