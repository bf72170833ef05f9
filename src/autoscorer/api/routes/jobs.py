"""Jobs: list them, look at one, cancel it, try it again."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal
from autoscorer.api.answers import Answer, answer
from autoscorer.api.deps import GivenService, make_router, may
from autoscorer.api.lookups import job_for
from autoscorer.api.views import JOBS, job_view
from autoscorer.schemas.job import Text
from autoscorer.schemas.service import JobPage, JobView
from autoscorer.store.records import JobQuery
from autoscorer.store.transitions import JobState

router = make_router("jobs", prefix=JOBS)
Reader = Annotated[Principal, may(Permission.READ_JOBS)]
Controller = Annotated[Principal, may(Permission.CONTROL_JOBS)]


class JobFilter(BaseModel):
    """Which jobs to list; what is left out does not restrict. ``before`` is the ``next`` of a page."""

    model_config = ConfigDict(extra="forbid")

    state: list[JobState] = Field(default_factory=list)
    job_id: Annotated[Text, Field(max_length=200)] | None = None
    workspace: Annotated[Text, Field(max_length=4096)] | None = None
    submitted_by: Annotated[Text, Field(max_length=200)] | None = None
    before: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


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
    views = [job_view(job, request=request, service=service, principal=principal) for job in page.jobs]
    return answer(JobPage(jobs=views, next=page.next))


@router.get("/{task_id}", response_model=Answer[JobView], summary="One job as it stands")
def show_job(request: Request, service: GivenService, principal: Reader, task_id: str) -> Response:
    """Its state, whose turn it is, and of a failed one whose fault it was and what to do."""
    job = job_for(service, principal, Permission.READ_JOBS, task_id)
    return answer(job_view(job, request=request, service=service, principal=principal))
