"""How a job that was waited for is answered: its result, its error, or that it goes on."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from autoscorer.access.principal import Principal
from autoscorer.api.answers import answer, refusal
from autoscorer.api.results import whole_view
from autoscorer.api.service import Service
from autoscorer.store.records import Job
from autoscorer.store.transitions import STATES
from autoscorer.utils.errors import read_error


def ending(job: Job, *, request: Request, service: Service, principal: Principal) -> Response:
    """202 while it is under way; its standard error, with the status of its code; else 200 and its result."""
    view = whole_view(job, request=request, service=service, principal=principal)
    data = view.model_dump(mode="json")
    meta = {"task_id": job.task_id}
    if not STATES[job.state].final:
        return answer(data, status=202, headers={"Location": view.links["self"]}, meta=meta)
    if view.error is not None:
        return refusal(read_error(view.error), data=data, meta=meta)
    return answer(data, meta=meta)
