"""The queue: how many jobs wait and run, and who works on them."""

from __future__ import annotations

from collections import Counter
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
    """Jobs that have not ended, counted by queue and state, and workers that take jobs now, by queue."""

    queues: dict[str, dict[str, int]]
    workers: dict[str, int]


@router.get(
    "", response_model=Answer[QueueView], summary="How many jobs wait and run, and how many workers take them"
)
def show_queue(service: GivenService, principal: Reader) -> Response:
    """Of all organisations together, by queue: jobs by state, and the number of workers that take jobs now.

    They decide how soon one's own is next. A queue whose jobs nobody takes is not in ``workers``.
    """
    queues: dict[str, dict[str, int]] = {}
    for (queue, state), count in sorted(service.store.jobs.counts().items()):
        queues.setdefault(queue, {})[str(state)] = count
    present = [worker for worker in service.store.workers.present() if worker.paused is None]
    workers = Counter(queue for worker in present for queue in worker.queues)
    return answer(QueueView(queues=queues, workers=dict(sorted(workers.items()))))
