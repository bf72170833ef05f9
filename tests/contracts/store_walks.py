"""The store's contract: whatever happens in whatever order."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from autoscorer.store.base import Store
from autoscorer.store.leases import lease_of, recover
from autoscorer.store.moves import LeaseLostError
from autoscorer.store.records import (
    AttemptEnd,
    Job,
    JobQuery,
    Lease,
)
from autoscorer.store.transitions import FINAL, STATES, JobState
from tests.contracts.store_cases import ENGINE_GONE, SCORE, StoreCase, new_job
from tests.store.clocks import MovableClock


class Walking(StoreCase):
    @pytest.mark.parametrize("seed", range(3))
    def test_whatever_happens_in_whatever_order_each_job_ends_once(
        self, store: Store, acme: str, clock: MovableClock, seed: int
    ) -> None:
        walk = Walk(store, acme, clock, seed)
        for _ in range(80):
            walk.step()
        walk.finish()
        for job in store.jobs.page(JobQuery(limit=1000)).jobs:
            attempts = store.jobs.attempts(job.task_id)
            events = store.jobs.events(job.task_id)
            assert job.state in FINAL
            assert [a.number for a in attempts] == list(range(1, job.attempt + 1))
            assert all(a.end is not None for a in attempts)
            assert [e.number for e in events] == list(range(1, job.events + 1))
            published = [a for a in attempts if a.end is AttemptEnd.SUCCEEDED]
            assert len(published) == (job.state is JobState.SUCCEEDED)
            assert (store.jobs.result(job.task_id) is not None) == bool(published)


class Walk:
    """Random things happen to jobs, workers and time; what may not happen is refused."""

    def __init__(self, store: Store, organisation_id: str, clock: MovableClock, seed: int) -> None:
        self.store, self.clock, self.organisation_id = store, clock, organisation_id
        self.random = random.Random(seed)
        self.leases: list[Lease] = []
        self.submitted = 0

    def step(self) -> None:
        self.random.choice(
            (self.submit, self.claim, self.claim, self.publish, self.give_back, self.cancel, self.wait)
        )()

    def submit(self) -> None:
        self.submitted += 1
        self.store.jobs.submit(new_job(self.organisation_id, self.submitted))

    def claim(self) -> None:
        job = self.store.work.claim(queues=["cpu"], worker=f"w{self.random.randrange(3)}")
        if job is not None:
            self.leases.append(lease_of(job))

    def publish(self) -> None:
        self.act(lambda lease: self.store.work.succeed(lease, result=SCORE))

    def give_back(self) -> None:
        self.act(lambda lease: self.store.work.give_back(lease, error=ENGINE_GONE))

    def cancel(self) -> None:
        self.act(lambda lease: self.store.jobs.cancel(lease.task_id, by="ada"))

    def act(self, action: Callable[[Lease], Job]) -> None:
        if self.leases:
            try:
                job = action(self.random.choice(self.leases))
            except LeaseLostError:
                return
            assert job.state in STATES

    def wait(self) -> None:
        self.clock.forward(self.random.choice((5, 31)))
        recover(self.store.work)

    def finish(self) -> None:
        """Let time and a last, diligent worker end what is left."""
        for _ in range(4 * self.submitted + 10):
            self.clock.forward(31)
            recover(self.store.work)
            while (job := self.store.work.claim(queues=["cpu"], worker="last")) is not None:
                self.store.work.succeed(lease_of(job), result=SCORE)
            if not self.store.jobs.counts():
                return
        raise AssertionError("some jobs never ended")
