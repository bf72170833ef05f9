"""Jobs, workers and time for the store's contract."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from autoscorer.store.base import Store
from autoscorer.store.leases import recover
from autoscorer.store.records import (
    Action,
    Job,
    Lease,
    NewJob,
)
from autoscorer.utils.errors import make_error
from tests.store.clocks import MovableClock

T = TypeVar("T")
ENGINE_GONE = make_error("execution", "CONTAINER_WAIT_FAILED", "the engine is gone")
EXIT_3 = make_error("execution", "CONTAINER_EXIT_NONZERO", "Exit code 3.")
SCORE = {"summary": {"score": 0.5}, "metrics": {"f1": 0.5}}
HOOK = "https://example.com/hook"


def new_job(organisation_id: str, number: int = 1, **fields: Any) -> NewJob:
    given: dict[str, Any] = {
        "organisation_id": organisation_id,
        "job_id": f"job-{number}",
        "action": Action.PIPELINE,
        "workspace": f"w/{number}",
        "spec": {"job_id": f"job-{number}", "note": "名前 ✓"},
        "submitted_by": "ada",
    }
    return NewJob(**{**given, **fields})


class StoreCase:
    """What the parts of the contract share; ``store`` is a fixture of the test class that inherits them."""

    @pytest.fixture
    def clock(self) -> MovableClock:
        return MovableClock()

    @pytest.fixture
    def acme(self, store: Store) -> str:
        return store.access.add_organisation("acme").organisation_id

    def claimed(self, store: Store, *, worker: str = "w1", queues: tuple[str, ...] = ("cpu",)) -> Job:
        job = store.work.claim(queues=queues, worker=worker)
        assert job is not None
        return job

    def end(self, store: Store, lease: Lease, ending: str, clock: MovableClock) -> None:
        match ending:
            case "succeed":
                store.work.succeed(lease, result=SCORE)
            case "fail":
                store.work.fail(lease, error=EXIT_3)
            case "give_back":
                store.work.give_back(lease, error=ENGINE_GONE)
            case "lapse":
                clock.forward(30)
                recover(store.work)
            case "cancel":
                store.jobs.cancel(lease.task_id, by="ada")
                store.work.fail(lease, error=EXIT_3)

    def with_callback(self, store: Store, organisation_id: str) -> None:
        job = store.jobs.submit(new_job(organisation_id, callback_url=HOOK)).job
        store.jobs.cancel(job.task_id, by="ada")


def at_once(acts: Sequence[Callable[[], T]]) -> list[T]:
    """What the acts give, in threads that start together."""
    gate = threading.Barrier(len(acts))
    answers: list[T] = []

    def run(act: Callable[[], T]) -> None:
        gate.wait(30)
        answers.append(act())

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == len(acts)
    return answers
