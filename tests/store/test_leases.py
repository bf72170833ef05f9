"""A holder keeps its lease by heartbeats, and learns in time when it has to stop."""

from __future__ import annotations

import itertools
import threading
from typing import cast

import pytest

from autoscorer.store import leases
from autoscorer.store.base import Work
from autoscorer.store.leases import Interruption, LeaseKeeper, holding, is_over, lease_of
from autoscorer.store.memory_store import MemoryStore
from autoscorer.store.records import Hold, Lease
from autoscorer.utils.errors import AutoscorerError
from tests.contracts.store_cases import new_job
from tests.store.claimed import Claimed
from tests.worker.sites import until


class Held(Claimed):
    """Its holder's keeper as well, on the same clock."""

    def __init__(self) -> None:
        super().__init__()
        self.keeper = LeaseKeeper(self.store.work, self.lease, elapsed=lambda: self.clock.elapsed_s)

    def pass_time(self, seconds: float, *, stepping: bool = True) -> None:
        """Time passes as the keeper's thread lives through it."""
        until_s = self.clock.elapsed_s + seconds
        while self.clock.elapsed_s < until_s:
            wait_s = self.keeper.step() if stepping else seconds
            self.clock.forward(max(0.001, min(wait_s, until_s - self.clock.elapsed_s)))


@pytest.fixture
def held() -> Held:
    return Held()


def test_a_lease_that_is_kept_never_runs_out(held: Held) -> None:
    for _ in range(20):
        held.pass_time(30)
        assert held.keeper.stop() is None
        assert held.store.work.overdue() == ()


def test_control_a_lease_that_is_not_kept_runs_out(held: Held) -> None:
    held.pass_time(30, stepping=False)
    assert held.store.work.overdue() == (held.lease.task_id,)
    assert held.keeper.stop() is Interruption.LEASE_LOST


def test_heartbeats_are_ten_seconds_apart(held: Held) -> None:
    beats: list[float] = []
    beat = held.store.work.beat

    def noted(lease: Lease) -> Hold:
        beats.append(held.clock.elapsed_s)
        return beat(lease)

    held.store.work.beat = noted  # type: ignore[method-assign, assignment]
    held.pass_time(60)
    gaps = [later - earlier for earlier, later in itertools.pairwise(beats)]
    assert len(beats) == 5
    assert gaps == pytest.approx([10] * 4, abs=0.1)


def test_a_cancel_is_heard_within_two_seconds(held: Held) -> None:
    held.pass_time(11)
    held.store.jobs.cancel(held.lease.task_id, by="ada")
    held.pass_time(2.1)
    assert held.keeper.stop() is Interruption.CANCELLED
    held.pass_time(60)
    assert held.keeper.stop() is Interruption.CANCELLED
    assert held.store.work.overdue() == ()  # it is kept until the program has been stopped


def test_a_lease_given_to_another_is_lost_within_two_seconds(held: Held) -> None:
    held.clock.forward(30)
    held.store.work.lapse(held.lease.task_id)
    held.clock.elapsed_s -= 30  # the holder's clock stood still meanwhile
    held.pass_time(2.1)
    assert held.keeper.stop() is Interruption.LEASE_LOST


def test_a_holder_gives_up_before_its_lease_ends_when_the_store_does_not_answer(held: Held) -> None:
    def refuse(_lease: Lease) -> Hold:
        raise AutoscorerError("STORE_UNAVAILABLE", "down")

    held.store.work.beat = held.store.work.look = refuse  # type: ignore[method-assign, assignment]
    held.pass_time(20)
    assert held.keeper.stop() is None
    held.pass_time(6)
    assert held.keeper.stop() is Interruption.LEASE_LOST
    assert held.store.work.overdue() == ()  # nobody else may have it yet


def test_a_short_outage_of_the_store_costs_nothing(held: Held) -> None:
    beat, look = held.store.work.beat, held.store.work.look

    def refuse(_lease: Lease) -> Hold:
        raise AutoscorerError("STORE_UNAVAILABLE", "down")

    held.store.work.beat = held.store.work.look = refuse  # type: ignore[method-assign, assignment]
    held.pass_time(20)
    held.store.work.beat, held.store.work.look = beat, look  # type: ignore[method-assign]
    held.pass_time(60)
    assert held.keeper.stop() is None


def test_a_clock_that_jumps_ahead_makes_its_holder_give_up(held: Held) -> None:
    held.clock.forward(3600)
    assert held.keeper.stop() is Interruption.LEASE_LOST


def test_holding_keeps_a_lease_in_the_background_and_ends_with_its_block() -> None:
    store = MemoryStore()
    store.jobs.submit(new_job(store.access.add_organisation("acme").organisation_id))
    job = store.work.claim(queues=["cpu"], worker="w")
    assert job is not None
    with holding(store.work, lease_of(job)) as keeper:
        assert keeper.stop() is None
        until(lambda: any(job.task_id in thread.name for thread in threading.enumerate()))
    assert not any(job.task_id in thread.name for thread in threading.enumerate())


class Away:
    """Work on a store that does not answer until it ``is_back``."""

    def __init__(self, work: Work) -> None:
        self.beat = work.beat
        self._look = work.look
        self.is_back = False
        self.asked = 0

    def look(self, lease: Lease) -> Hold:
        self.asked += 1
        if not self.is_back:
            raise AutoscorerError("STORE_UNAVAILABLE", "away")
        return self._look(lease)


def test_a_lease_waits_for_nothing_else_while_the_store_is_away(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in ("LOOK_S", "BESIDE_S", "_RETRY_S"):
        monkeypatch.setattr(leases, pause, 0.0)
    away, told = Away(held.store.work), threading.Event()
    with holding(cast("Work", away), held.lease, beside=told.set):
        until(lambda: away.asked > 20)
        assert not told.is_set()
        away.is_back = True
        until(told.is_set, what="what was not told is told")


def test_a_lease_that_was_written_down_can_be_asked_about(held: Held) -> None:
    written = str(held.lease)
    assert Lease.parse(written) == held.lease
    assert not is_over(held.store.work, written)
    held.clock.forward(30)
    assert not is_over(held.store.work, written)  # nobody has been given the job yet
    held.store.work.lapse(held.lease.task_id)
    assert is_over(held.store.work, written)


@pytest.mark.parametrize("text", ["", "x", "a/b", "a/b/c", "a/-1/c", "a/²/c", "nothing/1/w"])
def test_what_is_no_lease_is_over(held: Held, text: str) -> None:
    assert is_over(held.store.work, text)


def test_a_workers_name_may_hold_anything() -> None:
    lease = Lease(task_id="t", attempt=2, worker="host/7:boot/4711")
    assert Lease.parse(str(lease)) == lease


def test_a_job_nobody_holds_has_no_lease() -> None:
    store = MemoryStore()
    job = store.jobs.submit(new_job(store.access.add_organisation("acme").organisation_id)).job
    with pytest.raises(ValueError, match=job.task_id):
        lease_of(job)
