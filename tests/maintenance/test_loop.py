"""The duties: one process has each, another takes it over, and none holds up another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from autoscorer.maintenance.loop import Duty, Maintenance
from autoscorer.store.memory_store import MemoryStore
from tests.store.clocks import MovableClock
from tests.worker.sites import until


@contextmanager
def running(maintenance: Maintenance) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=maintenance.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def test_of_two_processes_one_has_the_duty() -> None:
    store, done = MemoryStore(), {"a": 0, "b": 0}

    def duty(holder: str) -> Duty:
        return Duty(name="sweep", every_s=0.01, work=lambda: done.__setitem__(holder, done[holder] + 1))

    with running(Maintenance(store, [duty("a")], holder="a")):
        until(lambda: done["a"] > 2)
        with running(Maintenance(store, [duty("b")], holder="b")):
            until(lambda: done["a"] > 10)
            assert done["b"] == 0


def test_the_duty_of_a_dead_process_is_taken_over_when_its_lease_has_run_out() -> None:
    clock, done = MovableClock(), []
    store = MemoryStore(clock=clock)
    store.duties.take("sweep", holder="dead", lease_s=15)
    maintenance = Maintenance(store, [Duty(name="sweep", every_s=1, work=lambda: done.append(1))])
    maintenance.once()
    assert done == [], "control: while the lease holds it is not"
    clock.forward(16)
    maintenance.once()
    assert done == [1]


def test_a_process_that_stops_leaves_its_duties_at_once() -> None:
    store, first, done = MemoryStore(), threading.Event(), []
    with running(Maintenance(store, [Duty(name="sweep", every_s=0.01, work=first.set)], holder="a")):
        assert first.wait(60)
        assert not store.duties.take("sweep", holder="b"), "control: while it runs, the duty is its"
    Maintenance(store, [Duty(name="sweep", every_s=1, work=lambda: done.append(1))], holder="b").once()
    assert done == [1]


def test_a_duty_that_fails_or_hangs_keeps_no_other_from_being_done() -> None:
    store, done, release = MemoryStore(), [], threading.Event()

    def fails() -> None:
        done.append("fails")
        raise ZeroDivisionError

    duties = [
        Duty(name="fails", every_s=0.01, work=fails),
        Duty(name="hangs", every_s=0.01, work=lambda: release.wait(30)),
        Duty(name="works", every_s=0.01, work=lambda: done.append("works")),
    ]
    with running(Maintenance(store, duties)):
        until(lambda: done.count("fails") > 2 and done.count("works") > 2)
        release.set()
