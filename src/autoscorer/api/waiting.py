"""Waiting for a job's end without a thread: the store is asked again and again, ever more seldom."""

from __future__ import annotations

import time

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from autoscorer.api.service import Service
from autoscorer.store.records import Job
from autoscorer.store.transitions import STATES

_FIRST_S = 0.008
_SHARE = 0.2  # of what was waited already: nobody waits a fifth longer than the job took
_LONGEST_S = 1.0


async def wait_for_end(service: Service, job: Job, *, wait_s: float, request: Request) -> Job:
    """The job when it has ended; as it is after ``wait_s``, or when caller or service go before."""
    started_s = time.monotonic()
    while not STATES[job.state].final:
        waited_s = time.monotonic() - started_s
        if waited_s >= wait_s or service.stopping.is_set() or await request.is_disconnected():
            return job
        await anyio.sleep(min(max(_FIRST_S, waited_s * _SHARE), _LONGEST_S, wait_s - waited_s))
        found: Job | None = await run_in_threadpool(service.store.jobs.get, job.task_id)
        job = found or job
    return job
