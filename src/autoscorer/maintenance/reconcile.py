"""The only recovery: what nobody holds any more goes back to the queue, or is ended."""

from __future__ import annotations

from autoscorer.maintenance.loop import Duty
from autoscorer.queues.base import Queue
from autoscorer.store.base import Store
from autoscorer.store.leases import recover
from autoscorer.store.records import Job
from autoscorer.store.transitions import WAITING
from autoscorer.utils.logger import log_event

EVERY_S = 5.0
_AT_ONCE = 100


def reconcile(store: Store, queue: Queue) -> list[Job]:
    """Recover every overdue job, and announce those that wait again. Answers how they stand."""
    recovered: list[Job] = []
    store.work.unblock()
    while found := recover(store.work, limit=_AT_ONCE):
        for job in found:
            log_event("WARNING", "job_recovered", task_id=job.task_id, attempt=job.attempt, state=job.state)
            if job.state in WAITING:
                queue.announce(job)
        recovered += found
    return recovered


def reconcile_duty(store: Store, queue: Queue) -> Duty:
    """`reconcile`, often enough that a job of a dead worker runs again within 45 s."""
    return Duty(name="reconcile", every_s=EVERY_S, work=lambda: reconcile(store, queue))
