"""Results: of a job, of the latest job in a workspace, and `result.json` itself."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal
from autoscorer.api.answers import Answer, answer
from autoscorer.api.deps import GivenService, make_router, may
from autoscorer.api.lookups import job_for, latest_job
from autoscorer.api.results import artifact_views, result_of
from autoscorer.api.service import Service
from autoscorer.api.views import JOBS, base_url, job_view
from autoscorer.schemas.service import ArtifactView, JobView, WorkspacePath
from autoscorer.store.records import Job

router = make_router("results")
Reader = Annotated[Principal, may(Permission.READ_JOBS)]


class ResultAnswer(BaseModel):
    """A result beside its job; ``result`` is what `result.json` holds."""

    job: JobView
    result: dict[str, Any]
    artifacts: list[ArtifactView]
    url: str


class OfWorkspace(BaseModel):
    """Which workspace's latest job is meant."""

    model_config = ConfigDict(extra="forbid")

    workspace: WorkspacePath


@router.get(
    JOBS + "/{task_id}/result", response_model=Answer[ResultAnswer], summary="The result of an ended job"
)
def job_result(request: Request, service: GivenService, principal: Reader, task_id: str) -> Response:
    """Metrics, versions, and addresses of its files; of a failed job what there is of them, and the error."""
    job = job_for(service, principal, Permission.READ_JOBS, task_id)
    return _answered(request, service, principal, job)


@router.get(JOBS + "/{task_id}/result.json", summary="`result.json` of an ended job, as a file")
def result_file(service: GivenService, principal: Reader, task_id: str) -> Response:
    """The result alone, without the envelope."""
    job = job_for(service, principal, Permission.READ_JOBS, task_id)
    result = result_of(service, principal, job)
    text = json.dumps(result.to_json(), ensure_ascii=False, indent=2, allow_nan=False)
    headers = {"Content-Disposition": 'attachment; filename="result.json"'}
    return Response(text.encode("utf-8", "replace"), media_type="application/json", headers=headers)


@router.get(
    "/result", response_model=Answer[ResultAnswer], summary="The result of the latest job in a workspace"
)
def workspace_result(
    request: Request, service: GivenService, principal: Reader, asked: Annotated[OfWorkspace, Query()]
) -> Response:
    """Of the latest that the caller may see."""
    return _answered(request, service, principal, latest_job(service, principal, asked.workspace))


def _answered(request: Request, service: Service, principal: Principal, job: Job) -> Response:
    result = result_of(service, principal, job)
    shown = ResultAnswer(
        job=job_view(job, request=request, service=service, principal=principal),
        result=result.to_json(),
        artifacts=artifact_views(job, result, request=request, service=service),
        url=f"{base_url(request, service.settings)}{JOBS}/{job.task_id}/result.json",
    )
    return answer(shown)
