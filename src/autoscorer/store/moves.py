"""What each move does to a job, as pure functions: the job before in, the job after and its traces out.

Every store applies what is decided here in one transaction, under a lock or a compare-and-set on the job.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from autoscorer.store.clock import Instant
from autoscorer.store.records import Attempt, AttemptEnd, Event, Job, JsonObject, Lease, NewJob, Note
from autoscorer.store.transitions import STATES, JobState, Move, allows, state_after
from autoscorer.utils.errors import AutoscorerError, make_error

LEASE_S = 30.0
HEARTBEAT_S = 10.0
ATTEMPTS = 3


class LeaseLostError(Exception):
    """Raised when somebody acts on a lease that is not theirs any more. Their work is to be thrown away."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How the attempt under way ended."""

    end: AttemptEnd
    error: JsonObject | None


@dataclass(frozen=True, kw_only=True)
class Change:
    """One move, decided: the job after it, the event that tells of it, and what else it brings.

    ``notes`` are events that came before it. It came itself ``ago_s`` seconds ago.
    """

    job: Job
    event: str
    facts: JsonObject = field(default_factory=dict)
    opened: Attempt | None = None
    ended: Ending | None = None
    result: JsonObject | None = None
    notes: tuple[Note, ...] = ()
    ago_s: float = 0.0

    @property
    def calls_back(self) -> bool:
        return STATES[self.job.state].final and self.job.callback_url is not None


def claim(job: Job, *, worker: str, now: Instant, lease_s: float) -> Change | None:
    """A worker takes a waiting job as its next attempt; None if it is not to be had now."""
    if not allows(job.state, Move.CLAIM):
        return None
    if job.state is JobState.QUEUED and job.until is not None and not job.until.passed(now):
        return None
    number = job.attempt + 1
    after = _moved(
        job,
        Move.CLAIM,
        attempt=number,
        worker=worker,
        until=now.plus(lease_s),
        started_at=job.started_at or now.at,
    )
    attempt = Attempt(task_id=job.task_id, number=number, worker=worker, started_at=now.at)
    return Change(job=after, event="job_claimed", facts={"worker": worker}, opened=attempt)


def release(job: Job, *, now: Instant, lost_after_s: float) -> Change | None:
    """A message that names the job goes out; unclaimed after ``lost_after_s`` it counts as lost."""
    if not allows(job.state, Move.RELEASE):
        return None
    return Change(job=_moved(job, Move.RELEASE, until=now.plus(lost_after_s)), event="job_released")


def succeed(job: Job, lease: Lease, *, result: JsonObject, now: Instant) -> Change | None:
    """The holder publishes a result. A cancel that came first wins; a repetition changes nothing."""
    if job.attempt == lease.attempt and job.state in (JobState.SUCCEEDED, JobState.CANCELLED):
        return None
    check_lease(job, lease)
    if job.state is JobState.CANCELLING:
        return _cancelled(job, now=now)
    after = _finished(job, Move.SUCCEED, now=now, error=None)
    return Change(
        job=after, event="job_succeeded", ended=Ending(end=AttemptEnd.SUCCEEDED, error=None), result=result
    )


def fail(
    job: Job, lease: Lease, *, error: JsonObject, result: JsonObject | None, now: Instant
) -> Change | None:
    """The holder ends the job without a score, as `succeed` does with one."""
    if job.attempt == lease.attempt and job.state in (JobState.FAILED, JobState.CANCELLED):
        return None
    check_lease(job, lease)
    if job.state is JobState.CANCELLING:
        return _cancelled(job, now=now)
    return Change(
        job=_finished(job, Move.FAIL, now=now, error=error),
        event="job_failed",
        facts=_told(error),
        ended=Ending(end=AttemptEnd.FAILED, error=error),
        result=result,
    )


def give_back(job: Job, lease: Lease, *, error: JsonObject, delay_s: float, now: Instant) -> Change:
    """The holder could not finish, by the platform's fault: another attempt, if one is left."""
    check_lease(job, lease)
    if job.state is JobState.CANCELLING:
        return _cancelled(job, now=now)
    return _again(job, Ending(end=AttemptEnd.GIVEN_BACK, error=error), delay_s=delay_s, now=now)


def hand_over(job: Job, lease: Lease, *, error: JsonObject, now: Instant) -> Change:
    """The holder stops and its program runs on, for the next attempt to take up: that one is not counted."""
    check_lease(job, lease)
    if job.state is JobState.CANCELLING:
        return _cancelled(job, now=now)
    longer = dataclasses.replace(job, attempts_allowed=job.attempts_allowed + 1)
    return _again(longer, Ending(end=AttemptEnd.GIVEN_BACK, error=error), delay_s=0.0, now=now)


def lapse(job: Job, *, now: Instant) -> Change | None:
    """The reconciler's decision about a job whose time has passed; None while there is nothing to do."""
    if job.until is None or not job.until.passed(now):
        return None
    match job.state:
        case JobState.RELEASED:
            return Change(job=_moved(job, Move.WITHDRAW, until=None), event="job_withdrawn")
        case JobState.CANCELLING:
            return _cancelled(job, now=now)
        case JobState.RUNNING:
            message = f"The worker {job.worker} was lost during attempt {job.attempt}."
            error = make_error("queue", "WORKER_LOST", message)
            return _again(job, Ending(end=AttemptEnd.LOST, error=error), delay_s=0, now=now)
    return None


def cancel(job: Job, *, by: str, now: Instant) -> Change | None:
    """Somebody cancels: at once while nobody runs it, else its worker is told. None if it has ended."""
    if allows(job.state, Move.ASK_CANCEL):
        return Change(job=_moved(job, Move.ASK_CANCEL), event="job_cancel_asked", facts={"by": by})
    if not allows(job.state, Move.DROP):
        return None
    after = _finished(job, Move.DROP, now=now, error=_cancel_error())
    return Change(job=after, event="job_cancelled", facts={"by": by})


def retry(job: Job, *, by: str) -> Change:
    """Start an ended job again, with as many attempts as at first. Raises CONFLICT for any other."""
    if not allows(job.state, Move.RETRY):
        message = f"Job {job.task_id} is {job.state}; only one that failed or was cancelled can be retried."
        raise AutoscorerError(
            "CONFLICT", message, {"task_id": job.task_id, "state": job.state}, cause="state"
        )
    after = _moved(
        job,
        Move.RETRY,
        attempts_allowed=job.attempt + ATTEMPTS,
        until=None,
        stage=None,
        error=None,
        started_at=None,
        finished_at=None,
    )
    return Change(job=after, event="job_retried", facts={"by": by})


def note(job: Job, lease: Lease, *, event: str, facts: JsonObject, stage: str | None, ago_s: float) -> Change:
    """The holder writes down what happened, and which stage the job is in."""
    check_lease(job, lease)
    after = dataclasses.replace(job, events=job.events + 1, stage=stage or job.stage)
    return Change(job=after, event=event, facts=facts, ago_s=ago_s)


def after_notes(change: Change | None, notes: Sequence[Note]) -> Change | None:
    """The same move, told after ``notes``; none remains none."""
    if change is None or not notes:
        return change
    job = dataclasses.replace(change.job, events=change.job.events + len(notes))
    return dataclasses.replace(change, job=job, notes=tuple(notes))


def events_of(change: Change, now: Instant) -> list[Event]:
    """The events that tell of a change: its notes, then the move itself."""
    job = change.job
    told = [(note.name, note.facts, now.at - timedelta(seconds=note.ago_s)) for note in change.notes]
    told += [(change.event, change.facts, now.at - timedelta(seconds=change.ago_s))]
    first = job.events - len(change.notes)
    return [
        Event(task_id=job.task_id, number=number, at=at, attempt=job.attempt, name=name, facts=facts)
        for number, (name, facts, at) in enumerate(told, first)
    ]


def check_lease(job: Job, lease: Lease) -> None:
    """Raise LeaseLostError unless ``lease`` is the one under which ``job`` is worked on now."""
    if not holds(job, lease):
        raise LeaseLostError(f"{lease.worker} does not hold attempt {lease.attempt} of {job.task_id}")


def holds(job: Job, lease: Lease) -> bool:
    """The fence. An expired lease that nobody has taken over still holds: its work is not thrown away."""
    return STATES[job.state].leased and (job.attempt, job.worker) == (lease.attempt, lease.worker)


def _again(job: Job, ending: Ending, *, delay_s: float, now: Instant) -> Change:
    if job.attempt >= job.attempts_allowed:
        error = _exhausted(job, ending.error or {})
        after = _finished(job, Move.FAIL, now=now, error=error)
        return Change(job=after, event="job_failed", facts=_told(error), ended=ending)
    until = now.plus(delay_s) if delay_s else None
    after = _moved(job, Move.REQUEUE, until=until, worker=None, stage=None)
    return Change(job=after, event="job_requeued", facts=_told(ending.error or {}), ended=ending)


def _cancelled(job: Job, *, now: Instant) -> Change:
    after = _finished(job, Move.END_CANCEL, now=now, error=_cancel_error())
    return Change(
        job=after, event="job_cancelled", ended=Ending(end=AttemptEnd.CANCELLED, error=_cancel_error())
    )


def _finished(job: Job, move: Move, *, now: Instant, error: JsonObject | None) -> Job:
    return _moved(job, move, until=None, stage=None, error=error, finished_at=now.at)


def _moved(job: Job, move: Move, **fields: Any) -> Job:
    """The job after ``move``; every move is an event."""
    return dataclasses.replace(job, state=state_after(job.state, move), events=job.events + 1, **fields)


def _told(error: JsonObject) -> Mapping[str, Any]:
    return {key: error[key] for key in ("code", "message") if key in error}


def _cancel_error() -> JsonObject:
    return make_error("execution", "CANCELLED", "The job was cancelled.")


def _exhausted(job: Job, last: JsonObject) -> JsonObject:
    message = (
        f"All {job.attempt} attempts failed by the platform's fault; the last: {last.get('message', '')}"
    )
    details = {"attempts": job.attempt, "last_code": last.get("code")}
    return make_error("queue", "ATTEMPTS_EXHAUSTED", message, details)


def receiver_of(url: str) -> str:
    """Whom a callback goes to, so that one who does not answer holds up no other."""
    return url.partition("://")[2].partition("/")[0].partition("?")[0].lower()[:300]


def new_job(new: NewJob, *, task_id: str, now: Instant) -> Job:
    """The job a submission makes, before the store has given it its ``seq``."""
    asked = {field.name: getattr(new, field.name) for field in dataclasses.fields(NewJob)}
    return Job(
        **asked,
        task_id=task_id,
        seq=0,
        state=JobState.QUEUED,
        attempt=0,
        attempts_allowed=ATTEMPTS,
        events=1,
        worker=None,
        until=None,
        stage=None,
        error=None,
        created_at=now.at,
        started_at=None,
        finished_at=None,
    )


def submitted(job: Job, *, seq: int) -> Change:
    """The first event of a job."""
    facts = {"action": job.action, "by": job.submitted_by}
    return Change(job=dataclasses.replace(job, seq=seq), event="job_submitted", facts=facts)
