"""That an embedded worker is there: told at once, again in time, and no more once it has left."""

from __future__ import annotations

from autoscorer.queues.attendance import PRESENT_FOR_S, TELL_EVERY_S, Attendance
from autoscorer.store.memory_store import MemoryStore
from autoscorer.store.records import Presence
from autoscorer.utils.errors import AutoscorerError
from tests.store.clocks import MovableClock

HERE = Presence(worker_id="w1", machine="m", queues=("cpu",), slots=2)


def test_a_worker_that_keeps_telling_stays_present_and_one_that_stopped_does_not() -> None:
    clock, now = MovableClock(), [0.0]
    store = MemoryStore(clock=clock)
    attendance = Attendance(store, HERE, elapsed=lambda: now[0])
    for _ in range(10):
        attendance.tell(None)
        assert store.workers.present() == (HERE,)
        now[0] += TELL_EVERY_S
        clock.forward(TELL_EVERY_S)
    clock.forward(PRESENT_FOR_S)
    assert store.workers.present() == ()


def test_a_pause_is_told_at_once_and_so_is_its_end() -> None:
    store = MemoryStore()
    attendance = Attendance(store, HERE, elapsed=lambda: 0.0)
    for paused in (None, "no disk", None):
        attendance.tell(paused)
        assert [worker.paused for worker in store.workers.present()] == [paused]
    attendance.leave()
    attendance.leave()
    assert store.workers.present() == ()


def test_nothing_is_told_again_before_it_is_due() -> None:
    store, told = MemoryStore(), []

    def report(presence: Presence, *, lease_s: float = 0.0) -> None:
        told.append(presence)

    store.workers.report = report  # type: ignore[method-assign]
    attendance = Attendance(store, HERE, elapsed=lambda: 0.0)
    for _ in range(100):
        attendance.tell(None)
    assert told == [HERE]


def test_a_store_that_is_away_stops_no_work() -> None:
    def away(*_given: object, **_named: object) -> None:
        raise AutoscorerError("STORE_UNAVAILABLE", "it does not answer")

    store = MemoryStore()
    store.workers.report = away  # type: ignore[method-assign]
    store.workers.leave = away  # type: ignore[method-assign]
    attendance = Attendance(store, HERE)
    attendance.tell(None)
    attendance.leave()
