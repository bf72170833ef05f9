"""What the store keeps, as frozen records: jobs, attempts, events, results, callbacks, scorers, tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from autoscorer.store.clock import Deadline
from autoscorer.store.transitions import JobState

JsonObject = Mapping[str, Any]


class Action(StrEnum):
    """What is to be done with a workspace."""

    RUN = "run"
    SCORE = "score"
    PIPELINE = "pipeline"


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What a submission asks for.

    ``job_id`` is the submitter's label, unique among the active jobs of an organisation. ``scorer`` is
    pinned as ``name@sha256``. ``request_sha256`` tells two requests with one ``idempotency_key`` apart.
    """

    organisation_id: str
    job_id: str
    action: Action
    workspace: str
    spec: JsonObject
    submitted_by: str
    params: JsonObject | None = None
    backend: str | None = None
    scorer: str | None = None
    queue: str = "cpu"
    priority: int = 0
    callback_url: str | None = None
    idempotency_key: str | None = None
    request_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Job(NewJob):
    """A job as it stands.

    ``task_id`` is ours and never given twice; ``seq`` orders jobs by age. ``attempt`` is the number of the
    latest attempt, 0 before the first; it is the fencing number: what an older attempt says is refused.
    ``until`` means: queued, not to be claimed before; released, when its message counts as lost; running
    or cancelling, when the lease ends; else absent. ``events`` is the number of its latest event.
    """

    task_id: str
    seq: int
    state: JobState
    attempt: int
    attempts_allowed: int
    events: int
    worker: str | None
    until: Deadline | None
    stage: str | None
    error: JsonObject | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class AttemptEnd(StrEnum):
    """How an attempt ended. ``LOST``: its lease ran out; ``GIVEN_BACK``: its worker could not finish it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    GIVEN_BACK = "given_back"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of a job by one worker; under way while ``end`` is absent."""

    task_id: str
    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None = None
    end: AttemptEnd | None = None
    error: JsonObject | None = None


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to work on a job: valid while the job is leased and its attempt is still this one.

    As text it can be left where the work is done, for others to ask whether it is over.
    """

    task_id: str
    attempt: int
    worker: str

    def __str__(self) -> str:
        return f"{self.task_id}/{self.attempt}/{self.worker}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The lease that ``str`` wrote; None for any other text."""
        match text.split("/", 2):
            case [task_id, attempt, worker] if attempt.isascii() and attempt.isdecimal():
                return cls(task_id=task_id, attempt=int(attempt), worker=worker)
        return None


@dataclass(frozen=True, kw_only=True)
class Hold:
    """What a holder hears of its lease: whether it still has it, and whether it is to stop."""

    held: bool
    cancelled: bool


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a job. ``number`` counts from 1 within the job, without gaps."""

    task_id: str
    number: int
    at: datetime
    attempt: int
    name: str
    facts: JsonObject


@dataclass(frozen=True, kw_only=True)
class Note:
    """What happened to a job ``ago_s`` seconds ago, written down only now."""

    name: str
    facts: JsonObject
    ago_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StoredResult:
    """The result an attempt published; ``body`` is what `result.json` holds."""

    task_id: str
    attempt: int
    body: JsonObject
    published_at: datetime

    def is_of(self, state: JobState, attempt: int) -> bool:
        """Whether it belongs to a job's end in that state by that attempt.

        A cancelled job has none; retried and cancelled in the queue, it has that of its former end no more.
        """
        return self.attempt == attempt and state is not JobState.CANCELLED


class SubmitOutcome(StrEnum):
    """``REPLAYED``: the same request by its idempotency key. ``ALREADY_ACTIVE``: its workspace has a job."""

    CREATED = "created"
    REPLAYED = "replayed"
    ALREADY_ACTIVE = "already_active"


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What became of a submission, and the job it is about."""

    outcome: SubmitOutcome
    job: Job


@dataclass(frozen=True, kw_only=True)
class JobQuery:
    """Which jobs to list, newest first; what is absent does not restrict. ``before`` is a page's ``next``."""

    organisation_id: str | None = None
    states: frozenset[JobState] | None = None
    submitted_by: str | None = None
    job_id: str | None = None
    workspace: str | None = None
    idempotency_key: str | None = None
    before: int | None = None
    limit: int = 50


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some jobs, and where the next page begins; absent on the last one."""

    jobs: tuple[Job, ...]
    next: int | None


@dataclass(frozen=True, kw_only=True)
class Presence:
    """A worker process that says it is there: which queues it serves, and how many jobs at once.

    ``paused`` is why it claims nothing at the moment, if it does not.
    """

    worker_id: str
    machine: str
    queues: tuple[str, ...]
    slots: int
    paused: str | None = None


class CallbackState(StrEnum):
    """``DEAD``: given up, until a person sends it again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, kw_only=True)
class Callback:
    """One message of the outbox: that a job ended, and how.

    ``tries`` and ``former_tries`` are its fencing number; the latter are those before a person last sent it
    again, which begins a new series. ``until``: pending and free, when it is due; claimed, when the claim
    lapses. The state and error told are those of the job's end that made it. ``receiver`` is the host,
    with the port if the address names one.
    """

    callback_id: str
    task_id: str
    organisation_id: str
    url: str
    receiver: str
    attempt: int
    job_state: JobState
    error: JsonObject | None
    state: CallbackState
    tries: int
    until: Deadline | None
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None
    former_tries: int = 0

    @property
    def tries_of_series(self) -> int:
        """How often it was tried since it was made or last sent again."""
        return self.tries - self.former_tries


@dataclass(frozen=True, kw_only=True)
class StoredScorer:
    """A scorer that was loaded: its content by hash, and its card. One content a name is active."""

    name: str
    sha256: str
    version: str
    card: JsonObject
    loaded_by: str
    loaded_at: datetime
    active: bool


class Role(StrEnum):
    """What a token's holder is. What each may do stands in `access.policy`."""

    OPERATOR = "operator"
    ORGANISER = "organiser"
    PARTICIPANT = "participant"
    VIEWER = "viewer"


@dataclass(frozen=True, kw_only=True)
class Organisation:
    """Who jobs and tokens belong to."""

    organisation_id: str
    name: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class StoredToken:
    """A token without its secret: only the hash is kept. ``prefix`` is for people to tell tokens apart.

    ``subject`` is the person or program that holds it, and what jobs are submitted by.
    """

    token_id: str
    organisation_id: str
    subject: str
    role: Role
    prefix: str
    secret_sha256: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
