"""The store's protocol: what the service asks of it, in parts. `memory_store` and `sql_store` fulfil it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from autoscorer.store.clock import Instant
from autoscorer.store.hearers import OnChange
from autoscorer.store.moves import LEASE_S
from autoscorer.store.records import (
    Attempt,
    Callback,
    CallbackState,
    Event,
    Hold,
    Job,
    JobQuery,
    JsonObject,
    Lease,
    NewJob,
    Note,
    Organisation,
    Page,
    Presence,
    StoredResult,
    StoredScorer,
    StoredToken,
    Submission,
)
from autoscorer.store.transitions import FINAL, JobState


class Jobs(Protocol):
    """Jobs as their submitters see them."""

    def submit(self, new: NewJob) -> Submission:
        """Keep a new job, or say which one stands in its place.

        Raises CONFLICT when an active job of the organisation has the same ``job_id``, or when the
        idempotency key was used for another request.
        """
        ...

    def submit_all(self, asked: Sequence[NewJob]) -> Sequence[Submission | Exception]:
        """What became of each, as `submit` returns or raises it; the same as one after another, quicker."""
        ...

    def get(self, task_id: str) -> Job | None: ...

    def page(self, query: JobQuery) -> Page: ...

    def ahead(self, job: Job, *, at_most: int) -> int | None:
        """How many jobs of its queue wait and go first, by priority and age, counted up to ``at_most``.

        None for one that does not wait. An estimate: which organisation has fewest under way counts, too.
        """
        ...

    def cancel(self, task_id: str, *, by: str) -> Job:
        """The job after it: cancelled, cancelling, or as it is if it had ended. Raises NOT_FOUND.

        After ``cancelling`` only ``cancelled`` follows: an accepted cancel is never answered with a score.
        """
        ...

    def retry(self, task_id: str, *, by: str) -> Job:
        """Queue an ended job once more. Raises NOT_FOUND, CONFLICT."""
        ...

    def attempts(self, task_id: str) -> Sequence[Attempt]: ...

    def events(self, task_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """Its events with a number above ``after``, oldest first. None turns up later between them."""
        ...

    def result(self, task_id: str) -> StoredResult | None:
        """The latest result that was published."""
        ...

    def with_result(self, task_ids: Collection[str]) -> frozenset[str]:
        """Those of ``task_ids`` whose latest attempt has published a result, and that were not cancelled."""
        ...

    def remove_ended(
        self, *, before: datetime, states: Collection[JobState] = FINAL, limit: int = 100
    ) -> Sequence[Job]:
        """Remove jobs that ended so before that date, with all that belongs to them, longest ago first.

        One whose callback is still to be delivered stays.
        """
        ...

    def pinned(self, scorers: Collection[str]) -> frozenset[str]:
        """Those of ``scorers`` (``name@sha256``) that a job names which has not ended, or can be retried."""
        ...

    def counts(self) -> Mapping[tuple[str, JobState], int]:
        """How many jobs are in each (queue, active state)."""
        ...

    def waiting_since(self) -> datetime | None:
        """Since when the job waits that was submitted first of those that are queued; None if none is."""
        ...


class Work(Protocol):
    """Jobs as workers see them. Raises LeaseLostError when a lease does not hold any more.

    An end may bring ``notes`` of what went before it: they are written down with it, or not at all.
    """

    def claim(
        self,
        *,
        queues: Sequence[str],
        worker: str,
        lease_s: float = LEASE_S,
        unless_released_s: float | None = None,
    ) -> Job | None:
        """The next job: by priority, then of the organisation with fewest given out, then the oldest.

        ``unless_released_s``: none while another job of ``queues`` is released and not lost for so many
        seconds, for its message brings work.
        """
        ...

    def claim_job(
        self,
        task_id: str,
        *,
        worker: str,
        lease_s: float = LEASE_S,
        fits: Callable[[Job], bool] = lambda _job: True,
    ) -> Job | None:
        """This job, released or queued; None if it is not to be had: another has it, it has ended, or it
        does not ``fit``. Raises NOT_FOUND."""
        ...

    def release(
        self, *, queues: Sequence[str], at_most: int, lost_after_s: float, at_least: int = 1
    ) -> Sequence[Job]:
        """Mark the next jobs as handed to a broker, in the order of `claim`: so many that no more than
        ``at_most`` of these queues are handed out and not claimed yet; none while there is no room for
        ``at_least``."""
        ...

    def prolong(self, *, queue: str, messages: int, lost_after_s: float) -> int:
        """Count the released jobs of a queue. If its broker holds as many ``messages``, none is lost: each
        gets ``lost_after_s`` from now."""
        ...

    def beat(self, lease: Lease, *, lease_s: float = LEASE_S) -> Hold:
        """Extend the lease from now, and hear whether it holds."""
        ...

    def look(self, lease: Lease) -> Hold:
        """Hear whether the lease holds, without extending it."""
        ...

    def note(
        self, lease: Lease, *, event: str, facts: JsonObject, stage: str | None = None, ago_s: float = 0.0
    ) -> Job:
        """Write down an event of ``ago_s`` seconds ago; ``stage``, if given, becomes the job's."""
        ...

    def succeed(self, lease: Lease, *, result: JsonObject, notes: Sequence[Note] = ()) -> Job:
        """Publish a result. The answer is ``cancelled`` if a cancel came first. May be repeated."""
        ...

    def fail(
        self,
        lease: Lease,
        *,
        error: JsonObject,
        result: JsonObject | None = None,
        notes: Sequence[Note] = (),
    ) -> Job:
        """End the job with an error, and with what there is of a result. May be repeated."""
        ...

    def give_back(
        self, lease: Lease, *, error: JsonObject, delay_s: float = 0.0, notes: Sequence[Note] = ()
    ) -> Job:
        """End the attempt by the platform's fault: queued again, or failed with ATTEMPTS_EXHAUSTED."""
        ...

    def hand_over(self, lease: Lease, *, error: JsonObject, notes: Sequence[Note] = ()) -> Job:
        """End the attempt, its program running on for the next one to take up: queued again, not counted."""
        ...

    def unblock(self) -> int:
        """End what processes that stand still hold others up with, as the locks of one that was stopped in
        the middle of a change; how many there were. What they were about is undone."""
        ...

    def overdue(self, *, limit: int = 100) -> Sequence[str]:
        """Jobs whose lease or release has run out, longest first."""
        ...

    def lapse(self, task_id: str) -> Job | None:
        """Recover an overdue job; None if it is not overdue (any more)."""
        ...


class Callbacks(Protocol):
    """The outbox. A job's end puts a message into it in the same transaction."""

    def claim(
        self,
        *,
        worker: str,
        lease_s: float = LEASE_S,
        not_to: Collection[str] = (),
        not_of: Collection[str] = (),
    ) -> Callback | None:
        """The message that is due longest, its ``tries`` counted up; again due when the claim lapses.

        ``not_to`` are receivers, ``not_of`` organisations that are left out.
        """
        ...

    def delivered(self, claimed: Callback) -> bool:
        """Note that it arrived; False if another has claimed it since, or it was sent again."""
        ...

    def failed(self, claimed: Callback, *, message: str, retry_in_s: float | None) -> bool:
        """Note a failure: due again in ``retry_in_s``, dead if that is None."""
        ...

    def resend(self, callback_id: str) -> Callback | None:
        """Make it due now whatever its state, with a new series of tries; None if there is no such message.

        What its sender notes, if one is at it, is not heard any more.
        """
        ...

    def get(self, callback_id: str) -> Callback | None: ...

    def list(
        self, *, organisation_id: str | None = None, state: CallbackState | None = None, limit: int = 100
    ) -> Sequence[Callback]:
        """Messages, newest first."""
        ...

    def counts(self) -> Mapping[CallbackState, int]:
        """How many messages are pending, and how many dead."""
        ...


class Scorers(Protocol):
    """Scorers that were loaded. A name's former contents stay, so that a job's pin can be kept."""

    def activate(
        self, *, name: str, sha256: str, version: str, card: JsonObject, loaded_by: str
    ) -> StoredScorer:
        """Make this content the one that ``name`` means from now on."""
        ...

    def active(self) -> Sequence[StoredScorer]: ...

    def find(self, name: str, *, sha256: str | None = None) -> StoredScorer | None:
        """The content of this hash, or the active one."""
        ...


class Access(Protocol):
    """Organisations and tokens. No method takes or gives a token's secret."""

    def add_organisation(self, name: str) -> Organisation:
        """Raises CONFLICT when the name is taken."""
        ...

    def organisation(self, name: str) -> Organisation | None: ...

    def organisations(self) -> Sequence[Organisation]: ...

    def add_token(self, token: StoredToken) -> None:
        """Raises NOT_FOUND when there is no such organisation."""
        ...

    def token_by_hash(self, secret_sha256: str) -> StoredToken | None: ...

    def tokens(self, organisation_id: str) -> Sequence[StoredToken]:
        """All of an organisation, revoked ones too, newest first."""
        ...

    def revoke(self, token_id: str) -> StoredToken | None:
        """Revoke it, once and for all; None if there is no such token."""
        ...


class Duties(Protocol):
    """Work that one process does for all, such as maintenance."""

    def take(self, duty: str, *, holder: str, lease_s: float = LEASE_S) -> bool:
        """Whether ``holder`` has the duty now: it was free, or its lease had run out, or is extended."""
        ...

    def leave(self, duty: str, *, holder: str) -> None:
        """Free it for the next; nothing happens unless ``holder`` has it."""
        ...


class Workers(Protocol):
    """Worker processes that are there now."""

    def report(self, presence: Presence, *, lease_s: float = LEASE_S) -> None:
        """Say that a worker is there, for ``lease_s`` from now."""
        ...

    def leave(self, worker_id: str) -> None:
        """Say that it is not. Safe to call twice."""
        ...

    def present(self) -> Sequence[Presence]:
        """Those who said so and whose time has not passed, by name."""
        ...


class Store(Protocol):
    """All of it. Safe to use from several threads; one object per process."""

    @property
    def jobs(self) -> Jobs: ...
    @property
    def work(self) -> Work: ...
    @property
    def callbacks(self) -> Callbacks: ...
    @property
    def scorers(self) -> Scorers: ...
    @property
    def access(self) -> Access: ...
    @property
    def duties(self) -> Duties: ...
    @property
    def workers(self) -> Workers: ...

    def now(self) -> Instant:
        """The store's time: the database server's, or this machine's."""
        ...

    def on_change(self, hear: OnChange) -> None:
        """Have ``hear`` told of every change of a job that is made through this object, once it is kept."""
        ...

    def check(self) -> None:
        """Raise STORE_UNAVAILABLE unless the store answers."""
        ...

    def close(self) -> None: ...
