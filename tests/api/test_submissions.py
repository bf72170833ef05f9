"""Threads of submissions: a few, and none of them for what may take long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from autoscorer.api.submissions import THREADS, in_turn
from autoscorer.schemas.service import JobRequest

QUICK = JobRequest(workspace="w")
COPYING = JobRequest(workspace="w", spec={"job_id": "another"})


async def asked_meanwhile(busy: JobRequest) -> bool:
    """Whether a quick submission is answered while as many as there are threads wait for ``busy`` ones."""
    begun, release = threading.Semaphore(0), threading.Event()

    def wait() -> None:
        begun.release()
        release.wait(30)

    tasks = [asyncio.create_task(in_turn(busy, wait)) for _ in range(THREADS)]
    for _ in tasks:
        await asyncio.to_thread(begun.acquire, timeout=30)
    quick = asyncio.create_task(in_turn(QUICK, lambda: None))
    # One that takes another way has come and gone: whatever can be answered has been begun by then.
    await in_turn(COPYING, lambda: None)
    done, _ = await asyncio.wait([quick], timeout=30 if busy is COPYING else 0.2)
    release.set()
    await asyncio.gather(quick, *tasks)
    return bool(done)


@pytest.mark.parametrize(
    ("busy", "is_answered"), [(COPYING, True), (QUICK, False)], ids=["copies", "control"]
)
def test_copies_hold_up_no_quick_submission_as_quick_ones_would(busy: JobRequest, is_answered: bool) -> None:
    assert asyncio.run(asked_meanwhile(busy)) is is_answered


def test_each_event_loop_has_threads_of_its_own() -> None:
    def answered(act: Callable[[], int]) -> int:
        return asyncio.run(in_turn(QUICK, act))

    assert [answered(lambda number=number: number) for number in range(3)] == [0, 1, 2]  # type: ignore[misc]
