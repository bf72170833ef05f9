"""Submitting in threads of its own: a few, for any more only have all of them wait for one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from autoscorer.schemas.service import JobRequest

Answered = TypeVar("Answered")
# Python computes in one thread at a time, and the store writes in one: with 40, as many as a server has, a
# submission took twice the processor time.
THREADS = 8
_quick: RunVar[CapacityLimiter] = RunVar("autoscorer_quick_submissions")


async def in_turn(asked: JobRequest, submit: Callable[[], Answered]) -> Answered:
    """What ``submit`` returns, from a thread; those that come first are first.

    One that copies a workspace may take long, so it takes its thread elsewhere and holds up nobody.
    """
    return await to_thread.run_sync(submit, limiter=_limiter() if asked.spec is None else None)


def _limiter() -> CapacityLimiter:
    """That of this event loop: one cannot wake what waits in another."""
    try:
        return _quick.get()
    except LookupError:
        _quick.set(CapacityLimiter(THREADS))
        return _quick.get()
