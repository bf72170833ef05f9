"""What the store keeps, as the API shows it to whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request

from autoscorer.access.principal import Principal
from autoscorer.api.service import Service
from autoscorer.reports.audience import Audience, participant_error, participant_view
from autoscorer.schemas.envelope import iso
from autoscorer.schemas.result import Result
from autoscorer.schemas.service import JobView, Told
from autoscorer.store.records import Job, Role
from autoscorer.store.transitions import STATES, TRANSITIONS, Move, Turn
from autoscorer.utils.config import Settings

JOBS = "/api/v1/jobs"
# What a job has addresses for, by name, below its own.
_PARTS = ("events", "log", "artifacts")


def audience_of(principal: Principal) -> Audience:
    """Participants and viewers see what a participant may; the others see all."""
    is_trusted = principal.role in (Role.OPERATOR, Role.ORGANISER)
    return Audience.ORGANISER if is_trusted else Audience.PARTICIPANT


def base_url(request: Request, settings: Settings) -> str:
    """Where addresses begin: PUBLIC_URL, else as the request came."""
    return (settings.public_url or str(request.base_url)).rstrip("/")


def shown_error(
    error: Mapping[str, Any] | None, principal: Principal, settings: Settings
) -> dict[str, Any] | None:
    """A job's standard error as ``principal`` may see it."""
    if error is None:
        return None
    sees_all = audience_of(principal) is Audience.ORGANISER or settings.show_truth_to_participants
    return dict(error) if sees_all else participant_error(error)


def shown_result(result: Result, principal: Principal, settings: Settings) -> Result:
    """A result as ``principal`` may see it."""
    sees_all = audience_of(principal) is Audience.ORGANISER or settings.show_truth_to_participants
    return participant_view(result, allow_truth=sees_all)


def job_view(
    job: Job,
    *,
    request: Request,
    service: Service,
    principal: Principal,
    ahead: int | None = None,
    now: datetime | None = None,
    has_result: bool | None = None,
) -> JobView:
    """A job as ``principal`` may see it, with addresses of what belongs to it.

    Who shows many asks the store's ``now``, and which of them have a result, once for all of them.
    """
    if has_result is None:
        has_result = job.task_id in with_result([job], service)
    row = STATES[job.state]
    error = shown_error(job.error, principal, service.settings)
    blamed = (error or {}).get("details", {}).get("blame", "nobody")
    return JobView(
        task_id=job.task_id,
        job_id=job.job_id,
        action=job.action.value,
        workspace=job.workspace,
        state=job.state,
        is_final=row.final,
        told=Told(en=row.told_en, zh=row.told_zh),
        turn=blamed if row.turn is Turn.BLAMED else row.turn,
        stage=None if row.final else job.stage,
        queue=job.queue,
        ahead=ahead,
        priority=job.priority,
        backend=job.backend,
        scorer=job.scorer,
        attempt=job.attempt,
        attempts_allowed=job.attempts_allowed,
        submitted_by=job.submitted_by,
        created_at=iso(job.created_at),
        started_at=iso_or_none(job.started_at),
        finished_at=iso_or_none(job.finished_at),
        seconds=_seconds(job, now=lambda: now or service.store.now().at),
        error=error,
        links=links(job, base_url(request, service.settings), has_result=has_result),
    )


def with_result(shown: Iterable[Job], service: Service) -> frozenset[str]:
    """The ``task_id`` of those that have ended with a result, or what there is of one."""
    ended = [job.task_id for job in shown if STATES[job.state].final]
    return service.store.jobs.with_result(ended) if ended else frozenset()


def links(job: Job, base: str, *, has_result: bool) -> dict[str, str]:
    """Addresses of a job and of what there is of it now; of what may be done to it too."""
    own = f"{base}{JOBS}/{job.task_id}"
    found = {"self": own, **{part: f"{own}/{part}" for part in _PARTS}}
    if has_result:
        found |= {"result": f"{own}/result", "result_json": f"{own}/result.json"}
    if not STATES[job.state].final:
        found["cancel"] = f"{own}/cancel"
    if job.state in TRANSITIONS[Move.RETRY][0]:
        found["retry"] = f"{own}/retry"
    return found


def iso_or_none(at: datetime | None) -> str | None:
    return None if at is None else iso(at)


def _seconds(job: Job, *, now: Callable[[], datetime]) -> float | None:
    if job.started_at is None:
        return None
    until = job.finished_at or now()
    return round(max(0.0, (until - job.started_at).total_seconds()), 3)
