"""The release of jobs to a broker, by one process for all; whoever announces a job does not wait for it."""

from __future__ import annotations

from autoscorer.maintenance.loop import Duty
from autoscorer.queues.base import Tended

EVERY_S = 2.0


def release_duty(queue: Tended) -> Duty:
    """`Tended.tend`, often enough that a job whose delay has passed does not wait long."""
    return Duty(name="release", every_s=EVERY_S, work=queue.tend)
