"""Jobs: create one, list them, look at one, cancel it, try it again."""

from __future__ import annotations

import functools
from typing import Annotated, Any

from fastapi import Body, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal
from autoscorer.api import examples
from autoscorer.api.answers import Answer, answer
from autoscorer.api.deps import GivenService, IdempotencyKey, make_router, may
from autoscorer.api.lookups import job_for
from autoscorer.api.results import whole_view
from autoscorer.api.views import JOBS, job_view, with_result
from autoscorer.intake.standing import check_is_what_was_asked
from autoscorer.schemas.job import Text
from autoscorer.schemas.service import JobPage, JobRequest, JobView
from autoscorer.store.records import JobQuery, SubmitOutcome
from autoscorer.store.transitions import JobState

router = make_router("jobs", prefix=JOBS)
MOST_AHEAD = 1000
Submitter = Annotated[Principal, may(Permission.SUBMIT_JOBS)]
Reader = Annotated[Principal, may(Permission.READ_JOBS)]
Controller = Annotated[Principal, may(Permission.CONTROL_JOBS)]
_STANDS: dict[int | str, dict[str, Any]] = {
    200: {"model": Answer[JobView], "description": "The workspace has a job under way: that one"}
}


class JobFilter(BaseModel):
    """Which jobs to list; what is left out does not restrict. ``before`` is the ``next`` of a page."""

    model_config = ConfigDict(extra="forbid")

    state: list[JobState] = Field(default_factory=list)
    job_id: Annotated[Text, Field(max_length=200)] | None = None
    workspace: Annotated[Text, Field(max_length=4096)] | None = None
    submitted_by: Annotated[Text, Field(max_length=200)] | None = None
    before: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


@router.post("", response_model=Answer[JobView], status_code=202, responses=_STANDS, summary="Create a job")
async def create_job(
    request: Request,
    service: GivenService,
    principal: Submitter,
    asked: Annotated[JobRequest, Body(openapi_examples=examples.JOB)],
    key: IdempotencyKey = None,
) -> Response:
    """Of a workspace, or of a specification: then a workspace is made. 200 when it stands already."""

    submission = await service.submissions.submit(asked, principal, key=key)
    check_is_what_was_asked(submission, asked)
    show = functools.partial(job_view, request=request, service=service, principal=principal)
    view = await run_in_threadpool(show, submission.job)
    status = 200 if submission.outcome is SubmitOutcome.ALREADY_ACTIVE else 202
    links = {"Location": view.links["self"]}
    return answer(view, status=status, headers=links, meta={"task_id": view.task_id})


@router.get("", response_model=Answer[JobPage], summary="Jobs, newest first")
def list_jobs(
    request: Request, service: GivenService, principal: Reader, asked: Annotated[JobFilter, Query()]
) -> Response:
    """Those that the caller may see: participants their own, others their organisation's."""
    organisation_id, subject = principal.narrowed(Permission.READ_JOBS)
    if subject is not None and asked.submitted_by not in (None, subject):
        return answer(JobPage(jobs=[], next=None))
    query = JobQuery(
        organisation_id=organisation_id,
        states=frozenset(asked.state) or None,
        submitted_by=subject or asked.submitted_by,
        job_id=asked.job_id,
        workspace=asked.workspace,
        before=asked.before,
        limit=asked.limit,
    )
    page = service.store.jobs.page(query)
    show = functools.partial(job_view, request=request, service=service, principal=principal)
    now, scored = service.store.now().at, with_result(page.jobs, service)
    views = [show(job, now=now, has_result=job.task_id in scored) for job in page.jobs]
    return answer(JobPage(jobs=views, next=page.next))


@router.get("/{task_id}", response_model=Answer[JobView], summary="One job as it stands")
def show_job(request: Request, service: GivenService, principal: Reader, task_id: str) -> Response:
    """Its state, whose turn it is, and of a failed one whose fault it was and what to do."""
    job = job_for(service, principal, Permission.READ_JOBS, task_id)
    ahead = service.store.jobs.ahead(job, at_most=MOST_AHEAD)
    return answer(whole_view(job, request=request, service=service, principal=principal, ahead=ahead))


@router.post("/{task_id}/cancel", response_model=Answer[JobView], summary="Cancel a job")
def cancel_job(request: Request, service: GivenService, principal: Controller, task_id: str) -> Response:
    """The job after it: cancelled, being stopped, or as it is if it had ended. Safe to repeat."""
    job_for(service, principal, Permission.CONTROL_JOBS, task_id)
    job = service.store.jobs.cancel(task_id, by=principal.subject)
    return answer(job_view(job, request=request, service=service, principal=principal))


@router.post(
    "/{task_id}/retry", response_model=Answer[JobView], status_code=202, summary="Start an ended job again"
)
def retry_job(request: Request, service: GivenService, principal: Controller, task_id: str) -> Response:
    """One that failed or was cancelled is queued once more, with all its attempts.

    A participant may not retry what somebody else has cancelled.
    """
    job = service.intake.retry(job_for(service, principal, Permission.CONTROL_JOBS, task_id), principal)
    return answer(job_view(job, request=request, service=service, principal=principal), status=202)
