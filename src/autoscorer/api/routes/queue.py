"""The queue: how many jobs wait and run."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel
from starlette.responses import Response

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal
from autoscorer.api.answers import Answer, answer
from autoscorer.api.deps import GivenService, make_router, may

router = make_router("queue", prefix="/api/v1/queue")
Reader = Annotated[Principal, may(Permission.READ_JOBS)]


class QueueView(BaseModel):
    """Jobs that have not ended, counted by queue and state."""

    queues: dict[str, dict[str, int]]


@router.get("", response_model=Answer[QueueView], summary="How many jobs wait and run")
def show_queue(service: GivenService, principal: Reader) -> Response:
    """Of all organisations together: what decides how soon one's own is next."""
    queues: dict[str, dict[str, int]] = {}
    for (queue, state), count in sorted(service.store.jobs.counts().items()):
        queues.setdefault(queue, {})[str(state)] = count
    return answer(QueueView(queues=queues))
