"""What a slot does after a job: it takes the next from the store, unless a message brings one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from autoscorer.queues import releasing
from autoscorer.store.records import Action, Job
from autoscorer.store.sql_store import SqlStore
from autoscorer.utils.errors import AutoscorerError
from celery_app.serving import Serving
from tests.worker.sites import Site

pytestmark = pytest.mark.slow


class Noting:
    """A worker, a queue and a tap in one, which note what they are told."""

    worker_id = "w"

    def __init__(self) -> None:
        self.worked: list[Job] = []
        self.announced: list[Job] = []
        self.full: str | None = None
        self.after: Callable[[], object] = lambda: None

    def paused(self) -> str | None:
        return self.full

    def work(self, job: Job) -> None:
        self.worked.append(job)
        self.after()

    def announce(self, job: Job) -> None:
        self.announced.append(job)

    def open(self) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def noting() -> Noting:
    return Noting()


@pytest.fixture
def serving(site: Site, noting: Noting, request: pytest.FixtureRequest) -> Iterator[Serving]:
    given: Any = noting
    made = Serving(site.settings, queues=("cpu", "gpu"), slots=getattr(request, "param", 2), tap=given)
    made._store.close()
    made._store = site.open_store()
    made._worker, made._queue = given, given
    yield made
    made.close()


def submitted(site: Site, store: SqlStore, number: int, **fields: Any) -> list[Job]:
    return [site.submit(store, site.workspace("good"), **fields) for _ in range(number)]


def ids(jobs: list[Job]) -> list[str]:
    return [job.task_id for job in jobs]


def test_a_slot_goes_on_until_nothing_waits(
    site: Site, store: SqlStore, serving: Serving, noting: Noting
) -> None:
    jobs = submitted(site, store, 3)
    serving.take(jobs[0].task_id, Action.PIPELINE)
    assert ids(noting.worked) == ids(jobs)


@pytest.mark.parametrize("serving", [1], indirect=True)
def test_without_room_no_message_is_asked_for_while_it_goes_on(
    site: Site, store: SqlStore, serving: Serving, noting: Noting
) -> None:
    told: list[int] = []
    noting.after = lambda: told.append(len(noting.announced))
    jobs = submitted(site, store, 3)
    serving.take(jobs[0].task_id, Action.PIPELINE)
    assert told == [0, 0, 0]


@pytest.mark.parametrize("seems_lost", [False, True])
def test_a_message_on_its_way_ends_it_and_one_that_seems_lost_does_not(
    site: Site, store: SqlStore, serving: Serving, noting: Noting, seems_lost: bool
) -> None:
    jobs = submitted(site, store, 3)
    submitted(site, store, 1, queue="gpu")
    left_s = releasing.LOST_AFTER_S * (0.8 if seems_lost else 1)
    assert store.work.release(queues=["gpu"], at_most=1, lost_after_s=left_s)
    serving.take(jobs[0].task_id, Action.PIPELINE)
    assert ids(noting.worked) == ids(jobs if seems_lost else jobs[:1])


@pytest.mark.parametrize("why", ["stops", "is full", "has no store"])
def test_a_worker_that_may_not_claim_begins_nothing_more(
    site: Site, store: SqlStore, serving: Serving, noting: Noting, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise AutoscorerError("STORE_UNAVAILABLE", "away")

    def befall() -> None:
        if why == "stops":
            serving._stop.set()
        elif why == "is full":
            noting.full = "no room"
        else:
            monkeypatch.setattr(serving._store.work, "claim", refuse)

    noting.after = befall
    jobs = submitted(site, store, 2)
    serving.take(jobs[0].task_id, Action.PIPELINE)
    assert ids(noting.worked) == ids(jobs[:1])
    assert serving._under_way == 0
