"""A job in a memory store that a worker has claimed, on a clock that the test moves."""

from __future__ import annotations

from autoscorer.store.leases import lease_of
from autoscorer.store.memory_store import MemoryStore
from tests.contracts.store_cases import new_job
from tests.store.clocks import MovableClock


class Claimed:
    """The store, its clock, and the lease that the claim gave."""

    def __init__(self) -> None:
        self.clock = MovableClock()
        self.store = MemoryStore(clock=self.clock)
        acme = self.store.access.add_organisation("acme").organisation_id
        self.store.jobs.submit(new_job(acme))
        job = self.store.work.claim(queues=["cpu"], worker="w")
        assert job is not None
        self.lease = lease_of(job)
