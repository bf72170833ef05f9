"""Logs of a job: what its container prints, while it does; for organisers what the platform did."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from autoscorer import records
from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal
from autoscorer.api.deps import GivenService, bearer, make_router, may
from autoscorer.api.log_files import JOB_LOG, GrowingLog, has_container_log
from autoscorer.api.lookups import is_valid, job_for, latest_job
from autoscorer.api.service import Service
from autoscorer.api.streams import HeldStream, Pace, in_thread
from autoscorer.api.views import JOBS, audience_of
from autoscorer.reports.audience import Audience
from autoscorer.schemas.service import WorkspacePath
from autoscorer.store.records import Job
from autoscorer.store.transitions import STATES
from autoscorer.utils.errors import AutoscorerError

router = make_router("logs")
Reader = Annotated[Principal, may(Permission.READ_JOBS)]
LOG_TYPE = "text/plain; charset=utf-8"
_NAMES = {"container": records.CONTAINER_LOG, "job": JOB_LOG}
_MOST = 2**40


class LogQuery(BaseModel):
    """Which log, from which byte on, or so many of its last bytes; ``follow`` until the job has ended."""

    model_config = ConfigDict(extra="forbid")

    log: Literal["container", "job"] = "container"
    offset: Annotated[int, Field(ge=0, lt=_MOST)] = 0
    tail: Annotated[int, Field(ge=0, lt=_MOST)] | None = None
    follow: bool = False


class WorkspaceLogQuery(LogQuery):
    """The same, of the latest job in a workspace."""

    workspace: WorkspacePath


_ANSWERS: dict[int | str, dict[str, object]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The log"}
}


@router.get(
    JOBS + "/{task_id}/log", summary="A job's log, as it grows", response_class=Response, responses=_ANSWERS
)
def job_log(
    request: Request,
    service: GivenService,
    principal: Reader,
    task_id: str,
    asked: Annotated[LogQuery, Query()],
) -> Response:
    """The bytes the container printed, whatever they are. `job` is the platform's own, for organisers."""
    job = job_for(service, principal, Permission.READ_JOBS, task_id)
    return _answered(request, service, principal, job, asked)


@router.get(
    "/logs", summary="The log of the latest job in a workspace", response_class=Response, responses=_ANSWERS
)
def workspace_log(
    request: Request,
    service: GivenService,
    principal: Reader,
    asked: Annotated[WorkspaceLogQuery, Query()],
) -> Response:
    """Of the latest that ran a container and that the caller may see."""
    job = latest_job(service, principal, asked.workspace, rather=has_container_log)
    return _answered(request, service, principal, job, asked)


def _answered(
    request: Request, service: Service, principal: Principal, job: Job, asked: LogQuery
) -> Response:
    if asked.log == "job" and audience_of(principal) is not Audience.ORGANISER:
        message = f"The role {principal.role} may not read the platform's log of a job; organisers may."
        raise AutoscorerError("FORBIDDEN", message, {"role": principal.role})
    with ExitStack() as held:
        held.enter_context(service.streams.held(principal.token_id))
        log = GrowingLog(service, job, _NAMES[asked.log])
        held.callback(log.close)
        is_there = log.open(offset=asked.offset, tail=asked.tail)
        may_come = asked.follow and not STATES[job.state].final
        if not is_there and not may_come:
            raise _no_log(job)
        told = _followed(service, job, log, bearer(request)) if may_come else _read(log)
        return HeldStream(told, held=held.pop_all(), headers={"X-Accel-Buffering": "no"}, media_type=LOG_TYPE)


async def _read(log: GrowingLog) -> AsyncIterator[bytes]:
    while piece := await in_thread(log.read):
        yield piece


async def _followed(service: Service, job: Job, log: GrowingLog, secret: str) -> AsyncIterator[bytes]:
    """What the log has until the job has ended; looked at once more then, for its last lines."""
    pace, has_ended = Pace(service.stopping.is_set), False
    while not pace.is_over:
        if piece := await in_thread(log.read):
            yield piece
            pace.told()
            continue
        if has_ended:
            return
        has_ended = await in_thread(lambda: _has_ended(service, job.task_id))
        if pace.needs_sign_of_life:
            pace.signed()
            if not await in_thread(lambda: is_valid(service, secret)):
                return
        if not has_ended:
            await pace.wait()


def _has_ended(service: Service, task_id: str) -> bool:
    try:
        job = service.store.jobs.get(task_id)
    except AutoscorerError:  # the store is away; whoever follows asks again
        return True
    return job is None or STATES[job.state].final


def _no_log(job: Job) -> AutoscorerError:
    if not has_container_log(job):
        message = f"Job {job.task_id} only scores: it runs no container, and has no log of one."
    elif STATES[job.state].final:
        message = (
            f"The log of job {job.task_id} is not kept (any more): its container never started, or a later "
            "job in the same workspace has replaced it."
        )
    else:
        message = f"Job {job.task_id} has printed nothing yet; `follow=true` waits for it."
    return AutoscorerError("NOT_FOUND", message, {"task_id": job.task_id, "state": job.state})
