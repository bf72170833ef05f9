"""What the service is asked and answers, besides the envelope: the wire types of API and client."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from autoscorer.schemas.job import Text

WorkspacePath = Annotated[Text, Field(min_length=1, max_length=4096)]
ActionName = Literal["run", "score", "pipeline"]
Url = Annotated[Text, Field(min_length=1, max_length=2048)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Asked(_Wire):
    """What every way to ask for a job may say.

    ``workspace`` starts at WORKSPACE_ROOT. ``scorer`` is a name or a pin ``name@sha256``; absent: the one of
    the job's spec. ``priority``: the higher, the sooner.
    """

    params: dict[str, Any] | None = None
    scorer: Annotated[Text, Field(min_length=1, max_length=300)] | None = None
    backend: Annotated[Text, Field(min_length=1, max_length=50)] | None = None
    callback_url: Url | None = None
    priority: Annotated[int, Field(strict=True, ge=-100, le=100)] = 0


class RunRequest(_Asked):
    """`POST /run`, `/score`, `/pipeline`: the end within ``wait_s`` seconds, else a task to ask for."""

    workspace: WorkspacePath
    wait_s: Annotated[float, Field(strict=True, ge=0, le=600)] = 30


class SubmitRequest(_Asked):
    """`POST /submit`: never waits."""

    workspace: WorkspacePath
    action: ActionName


class SubmitView(_Wire):
    """What `/submit` answers; ``running``: the workspace had a job under way, which is this one."""

    submitted: bool
    running: bool
    task_id: str


class JobRequest(_Asked):
    """`POST /api/v1/jobs`. With ``spec`` a workspace is made: ``workspace``'s input and reference copied, and
    its `meta.json` with what ``spec`` says otherwise."""

    workspace: WorkspacePath
    action: ActionName = "pipeline"
    spec: dict[str, Any] | None = None


class Told(_Wire):
    """One sentence for people, in English and Chinese."""

    en: str
    zh: str


class ArtifactView(_Wire):
    """A file of a result and where to download it; ``size`` in bytes."""

    name: str
    size: int
    sha256: str
    media_type: str
    shows_truth: bool
    url: str


class JobView(_Wire):
    """A job as it stands. Times are ISO 8601 UTC with ``Z``; ``seconds`` is how long it has run, or ran.

    ``turn`` is who acts next: scheduler, worker, nobody, or whom the error blames. ``error`` is the standard
    error. ``links`` are addresses of what belongs to it. One that was scored has its result as well, when it
    is asked for alone, and the addresses of its files.
    """

    task_id: str
    job_id: str
    action: ActionName
    workspace: str
    state: str
    is_final: bool
    told: Told
    turn: str
    stage: str | None
    queue: str
    ahead: int | None = None
    priority: int
    backend: str | None
    scorer: str | None
    attempt: int
    attempts_allowed: int
    submitted_by: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    seconds: float | None
    error: dict[str, Any] | None
    links: dict[str, str]
    result: dict[str, Any] | None = None
    metrics: dict[str, float] | None = None
    artifacts: list[ArtifactView] | None = None


class JobPage(_Wire):
    """Jobs, newest first; ``next`` is the ``before`` of the following page, absent on the last."""

    jobs: list[JobView]
    next: int | None


class EventView(_Wire):
    """Something that happened to a job; ``number`` counts from 1 without gaps."""

    number: int
    at: str
    attempt: int
    name: str
    facts: dict[str, Any]


class TokenRequest(_Wire):
    """A new token. ``valid_days`` absent: it does not expire."""

    subject: Annotated[Text, Field(min_length=1, max_length=200)]
    role: Literal["operator", "organiser", "participant", "viewer"]
    organisation: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    valid_days: Annotated[float, Field(strict=True, gt=0, le=36500)] | None = None


class TokenView(_Wire):
    """A token as a list shows it. ``secret`` is there once, when it is made."""

    token_id: str
    organisation: str
    subject: str
    role: str
    prefix: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    secret: str | None = Field(default=None, repr=False)


class OrganisationRequest(_Wire):
    """A new organisation; its name is also that of its folder."""

    name: Annotated[Text, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class OrganisationView(_Wire):
    """Who jobs and tokens belong to. ``folder`` starts at WORKSPACE_ROOT."""

    organisation_id: str
    name: str
    folder: str
    created_at: str


class CallbackView(_Wire):
    """One message of the outbox. ``state``: pending, delivered or dead."""

    callback_id: str
    task_id: str
    url: str
    job_state: str
    state: str
    tries: int
    last_error: str | None
    created_at: str
    finished_at: str | None


class CallbackSecretView(_Wire):
    """What an organisation's callbacks are signed with; two while one replaces the other, the new one first.

    Both sign meanwhile: a receiver that knows either verifies.
    """

    organisation: str
    secrets: list[str]


class LoadRequest(_Wire):
    """`POST /scorers/load` and `/scorers/reload`: a file or package folder below SCORERS_DIR."""

    file_path: WorkspacePath
    replace: Annotated[bool, Field(strict=True)] = False


class TrialRequest(_Wire):
    """`POST /scorers/test`: try a scorer on a workspace; nothing is written."""

    scorer_name: Annotated[Text, Field(min_length=1, max_length=300)]
    workspace: WorkspacePath
    params: dict[str, Any] | None = None


class WatchRequest(_Wire):
    """`POST /scorers/watch`: load the scorers of a file or folder below SCORERS_DIR whenever they change."""

    file_path: WorkspacePath


class UploadView(_Wire):
    """An unpacked archive: the workspace to name in a job."""

    workspace: str
    files: int
    bytes: int
