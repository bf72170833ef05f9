"""A decided change written down: the job by compare-and-set, with it attempt, event, result, callback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import uuid4

from sqlalchemy import Connection, Insert, bindparam, insert, select, update

from autoscorer.store.clock import Instant
from autoscorer.store.moves import Change, events_of, receiver_of
from autoscorer.store.records import CallbackState, Job
from autoscorer.store.sql.database import Database, is_contended
from autoscorer.store.sql.rows import changed_values, job_of, until_values, values_of
from autoscorer.store.sql.tables import attempts, callbacks, events, jobs, results
from autoscorer.utils.errors import AutoscorerError

Decide = Callable[[Job, Instant], Change | None]
# Made once and executed with parameters: to put a statement together takes longer than to execute it.
_ONE = select(jobs).where(jobs.c.task_id == bindparam("its_id"))
_CHANGED = update(jobs).where(jobs.c.task_id == bindparam("its_id"), jobs.c.events == bindparam("its_number"))
_ENDED = update(attempts).where(
    attempts.c.task_id == bindparam("its_id"), attempts.c.number == bindparam("its_number")
)
_EVENT, _OPENED, _RESULT = insert(events), insert(attempts), insert(results)


def change_job(database: Database, task_id: str, decide: Decide, *, light: bool = False) -> tuple[Job, bool]:
    """The job after what ``decide`` said, and whether that was anything; ``light`` as `Database.writing` has
    it. Raises NOT_FOUND."""
    try:
        return _changed(database, task_id, decide, light=light)
    except AutoscorerError as exc:
        if not is_contended(exc):
            raise
    database.end_standing()
    return _changed(database, task_id, decide, light=light)


def _changed(database: Database, task_id: str, decide: Decide, *, light: bool) -> tuple[Job, bool]:
    with database.writing(light=light) as connection:
        found = connection.execute(database.locked(_ONE), {"its_id": task_id}).mappings().one_or_none()
        if found is None:
            raise no_such_job(task_id)
        before, now = job_of(found), database.now(connection)
        change = decide(before, now)
        if change is None:
            return before, False
        apply(connection, before, change, now)
    database.hearers.tell(change, now)
    return change.job, True


def apply(connection: Connection, before: Job, change: Change, now: Instant) -> None:
    """Write a change down. Each counts ``events`` up: that number tells whether another came first."""
    its = {"its_id": before.task_id, "its_number": before.events}
    if connection.execute(_CHANGED, changed_values(before, change.job) | its).rowcount != 1:
        raise AutoscorerError("STORE_UNAVAILABLE", f"Job {before.task_id} changed meanwhile.")
    note_events(connection, [change], now)
    if change.opened is not None:
        connection.execute(_OPENED, values_of(change.opened))
    if change.ended is not None:
        its = {"its_id": before.task_id, "its_number": before.attempt}
        ended = {"ended_at": now.at, "end": change.ended.end, "error": change.ended.error}
        connection.execute(_ENDED, ended | its)
    if change.result is not None:
        result = {"task_id": before.task_id, "attempt": before.attempt, "body": change.result}
        connection.execute(_RESULT, result | {"published_at": now.at})
    if change.calls_back:
        connection.execute(_callback_insert(change.job, now))


def note_events(connection: Connection, changes: Sequence[Change], now: Instant) -> None:
    """Write down the events of the changes, and the notes before each."""
    made = [dict(vars(event)) for change in changes for event in events_of(change, now)]
    if made:
        connection.execute(_EVENT, made)


def no_such_job(task_id: str) -> AutoscorerError:
    return AutoscorerError("NOT_FOUND", f"There is no job {task_id}.")


def _callback_insert(job: Job, now: Instant) -> Insert:
    return insert(callbacks).values(
        callback_id=str(uuid4()),
        task_id=job.task_id,
        organisation_id=job.organisation_id,
        url=job.callback_url,
        receiver=receiver_of(job.callback_url or ""),
        attempt=job.attempt,
        job_state=job.state,
        error=job.error,
        state=CallbackState.PENDING,
        tries=0,
        created_at=now.at,
        **until_values(now.plus(0)),
    )
