"""From the store to a broker: as much as there are slots, in the store's order, whatever the broker does."""

from __future__ import annotations

import pytest

from autoscorer.queues.releasing import LOST_AFTER_S, BrokerLostError, Releaser, most_of, slots_of
from autoscorer.store.leases import recover
from autoscorer.store.memory_store import MemoryStore
from autoscorer.store.records import Job, JobQuery, Presence
from autoscorer.store.transitions import JobState
from tests.contracts.store_cases import new_job
from tests.store.clocks import MovableClock
from tests.worker.sites import until


class Shelf:
    """A broker in memory: messages by queue, oldest first; ``away`` it answers nobody."""

    def __init__(self) -> None:
        self.messages: dict[str, list[str]] = {}
        self.away = False

    def send(self, job: Job) -> None:
        self._check()
        self.messages.setdefault(job.queue, []).append(job.task_id)

    def waiting(self, queue: str) -> int:
        self._check()
        return len(self.messages.get(queue, ()))

    def _check(self) -> None:
        if self.away:
            raise BrokerLostError("away")


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def store(clock: MovableClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
def acme(store: MemoryStore) -> str:
    return store.access.add_organisation("acme").organisation_id


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def releaser(store: MemoryStore, shelf: Shelf) -> Releaser:
    return Releaser(store, shelf)


def present(store: MemoryStore, worker_id: str = "w", slots: int = 2, *queues: str, **more: str) -> None:
    presence = Presence(worker_id=worker_id, machine="m", queues=queues or ("cpu",), slots=slots, **more)
    store.workers.report(presence, lease_s=10_000)


def wait_in_line(store: MemoryStore, acme: str, number: int, **fields: object) -> list[str]:
    before = len(store.jobs.page(_all()).jobs)
    return [store.jobs.submit(new_job(acme, before + count, **fields)).job.task_id for count in range(number)]


def _all() -> JobQuery:
    return JobQuery(limit=1000)


def test_the_broker_holds_as_many_unclaimed_messages_as_there_are_slots(
    store: MemoryStore, acme: str, shelf: Shelf, releaser: Releaser
) -> None:
    present(store, "w1", 2)
    present(store, "w2", 3)
    task_ids = wait_in_line(store, acme, 9)
    for _ in range(3):
        releaser.tend()
    assert shelf.messages == {"cpu": task_ids[:5]}
    store.work.claim_job(task_ids[0], worker="w1")
    releaser.tend()
    assert shelf.messages == {"cpu": task_ids[:6]}


def test_claims_are_followed_by_a_round_when_most_messages_are_taken(
    store: MemoryStore, acme: str, shelf: Shelf, releaser: Releaser
) -> None:
    present(store, "w", 4)
    task_ids = wait_in_line(store, acme, 8)
    sent = []
    for task_id in ["", *task_ids[:4]]:
        if task_id:
            store.work.claim_job(task_id, worker="w")
        releaser.release({"cpu": 4}, at_least=most_of)
        sent.append(len(shelf.messages["cpu"]))
    assert sent == [4, 4, 4, 7, 7]
    releaser.tend()
    assert len(shelf.messages["cpu"]) == 8  # what a lost message would leave open is filled up


@pytest.mark.parametrize(("slots", "room"), [(1, 1), (2, 2), (3, 2), (4, 3), (100, 51)])
def test_a_round_is_worth_its_while_when_there_is_room_for_most(slots: int, room: int) -> None:
    assert most_of(slots) == room


def test_whatever_comes_first_in_the_store_goes_out_first(
    store: MemoryStore, acme: str, shelf: Shelf, releaser: Releaser
) -> None:
    present(store, "w", 2)
    late = wait_in_line(store, acme, 2)
    urgent = wait_in_line(store, acme, 2, priority=5)
    releaser.tend()
    assert shelf.messages["cpu"] == urgent
    for task_id in urgent:
        store.work.claim_job(task_id, worker="w")
    releaser.tend()
    assert shelf.messages["cpu"] == urgent + late


def test_where_nobody_serves_a_queue_its_jobs_wait_in_the_store(
    store: MemoryStore, acme: str, shelf: Shelf, releaser: Releaser
) -> None:
    present(store, "w1", 2, "cpu")
    present(store, "w2", 2, "gpu", paused="the disk is full")
    (task_id,) = wait_in_line(store, acme, 1, queue="gpu")
    releaser.tend()
    assert shelf.messages == {}
    job = store.jobs.get(task_id)
    assert job is not None
    assert job.state is JobState.QUEUED


def test_a_message_that_is_lost_goes_out_again_and_one_that_waits_does_not(
    store: MemoryStore, acme: str, shelf: Shelf, releaser: Releaser, clock: MovableClock
) -> None:
    present(store, "w", 2)
    task_ids = wait_in_line(store, acme, 2)
    releaser.tend()
    for _ in range(10):
        clock.forward(LOST_AFTER_S - 1)
        releaser.tend()
        assert recover(store.work) == ()
    assert shelf.messages["cpu"] == task_ids
    shelf.messages.clear()
    releaser.tend()
    clock.forward(LOST_AFTER_S)
    releaser.tend()
    assert len(recover(store.work)) == 2
    releaser.tend()
    assert shelf.messages["cpu"] == task_ids


def test_while_the_broker_is_away_nothing_more_is_released(
    store: MemoryStore, acme: str, shelf: Shelf, releaser: Releaser
) -> None:
    present(store, "w", 2)
    wait_in_line(store, acme, 9)
    shelf.away = True
    for _ in range(3):
        releaser.tend()
    assert store.jobs.counts()["cpu", JobState.RELEASED] == 2, "what went out before it was noticed"
    for job in store.jobs.page(_all()).jobs:
        if job.state is JobState.RELEASED:
            store.work.claim_job(job.task_id, worker="w")
    releaser.tend()
    assert ("cpu", JobState.RELEASED) not in store.jobs.counts()
    shelf.away = False
    releaser.tend()
    assert len(shelf.messages["cpu"]) == 2


def test_whoever_rings_does_not_wait(store: MemoryStore, acme: str, shelf: Shelf, releaser: Releaser) -> None:
    present(store, "w", 2)
    task_ids = wait_in_line(store, acme, 1)
    releaser.ring("gpu")
    releaser.ring("cpu")
    until(lambda: shelf.messages == {"cpu": task_ids})


def test_a_worker_counts_once_for_each_queue_it_serves() -> None:
    one = Presence(worker_id="w1", machine="m", queues=("cpu", "score"), slots=2)
    other = Presence(worker_id="w2", machine="m", queues=("cpu",), slots=3)
    idle = Presence(worker_id="w3", machine="m", queues=("gpu",), slots=3, paused="x")
    assert dict(slots_of([one, other, idle])) == {"cpu": 5, "score": 2}
