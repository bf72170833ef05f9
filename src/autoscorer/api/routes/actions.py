"""The design's short addresses: run, score, pipeline, submit, and a task's state."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal
from autoscorer.api import examples
from autoscorer.api.answers import Answer, answer
from autoscorer.api.deps import GivenService, IdempotencyKey, make_router, may
from autoscorer.api.endings import ending
from autoscorer.api.lookups import job_for
from autoscorer.api.results import whole_view
from autoscorer.api.service import Service
from autoscorer.api.waiting import wait_for_end
from autoscorer.intake.standing import check_is_what_was_asked
from autoscorer.schemas.service import (
    ActionName,
    JobRequest,
    JobView,
    RunRequest,
    SubmitRequest,
    SubmitView,
)
from autoscorer.store.records import SubmitOutcome

router = make_router("actions")
Submitter = Annotated[Principal, may(Permission.SUBMIT_JOBS)]
Reader = Annotated[Principal, may(Permission.READ_JOBS)]
_UNDER_WAY: dict[int | str, dict[str, Any]] = {
    202: {"model": Answer[JobView], "description": "It goes on: ask for its `task_id`"}
}
_STANDS: dict[int | str, dict[str, Any]] = {
    200: {"model": Answer[SubmitView], "description": "The workspace has a job under way: that one"}
}
Asked = Annotated[RunRequest, Body(openapi_examples=examples.RUN)]


@router.post(
    "/run",
    response_model=Answer[JobView],
    responses=_UNDER_WAY,
    summary="Run a workspace's container and wait",
)
async def run(
    request: Request, service: GivenService, principal: Submitter, asked: Asked, key: IdempotencyKey = None
) -> Response:
    """Inference only. 200 with the job that ended well; 202 with its `task_id` after `wait_s`."""
    return await _act(request, service, principal, asked, action="run", key=key)


@router.post(
    "/score",
    response_model=Answer[JobView],
    responses=_UNDER_WAY,
    summary="Score a workspace's output and wait",
)
async def score(
    request: Request, service: GivenService, principal: Submitter, asked: Asked, key: IdempotencyKey = None
) -> Response:
    """As `/run`; the answer carries result, metrics and download addresses."""
    return await _act(request, service, principal, asked, action="score", key=key)


@router.post(
    "/pipeline",
    response_model=Answer[JobView],
    responses=_UNDER_WAY,
    summary="Run, then score, and wait",
)
async def pipeline(
    request: Request, service: GivenService, principal: Submitter, asked: Asked, key: IdempotencyKey = None
) -> Response:
    """As `/run`; the answer carries result, metrics and download addresses."""
    return await _act(request, service, principal, asked, action="pipeline", key=key)


@router.post(
    "/submit",
    response_model=Answer[SubmitView],
    status_code=202,
    responses=_STANDS,
    summary="Submit a job and do not wait",
)
async def submit(
    service: GivenService,
    principal: Submitter,
    asked: Annotated[SubmitRequest, Body(openapi_examples=examples.SUBMIT)],
    key: IdempotencyKey = None,
) -> Response:
    """202 for a new job; 200 with `submitted: false` when the workspace has one under way."""
    wanted = JobRequest(**asked.model_dump())
    submission = await service.submissions.submit(wanted, principal, key=key)
    task_id = submission.job.task_id
    is_standing = submission.outcome is SubmitOutcome.ALREADY_ACTIVE
    view = SubmitView(submitted=not is_standing, running=is_standing, task_id=task_id)
    return answer(view, status=200 if is_standing else 202, meta={"task_id": task_id})


@router.get("/tasks/{task_id}", response_model=Answer[JobView], summary="A task as it stands")
def show_task(request: Request, service: GivenService, principal: Reader, task_id: str) -> Response:
    """The job of that id, with its result once there is one; of a failed one the error stands in it."""
    job = job_for(service, principal, Permission.READ_JOBS, task_id)
    view = whole_view(job, request=request, service=service, principal=principal)
    return answer(view, meta={"task_id": task_id})


async def _act(
    request: Request,
    service: Service,
    principal: Principal,
    asked: RunRequest,
    *,
    action: ActionName,
    key: str | None,
) -> Response:
    wanted = JobRequest(action=action, **asked.model_dump(exclude={"wait_s"}))
    submission = await service.submissions.submit(wanted, principal, key=key)
    check_is_what_was_asked(submission, wanted)
    job = await wait_for_end(service, submission.job, wait_s=asked.wait_s, request=request)
    return await run_in_threadpool(ending, job, request=request, service=service, principal=principal)
