"""The store in memory: a stub that ships, for tests and trials. It keeps the whole contract."""

from __future__ import annotations

from autoscorer.store.clock import Clock, Instant, kernel_clock
from autoscorer.store.hearers import OnChange
from autoscorer.store.memory.jobs import MemoryJobs
from autoscorer.store.memory.others import (
    MemoryAccess,
    MemoryCallbacks,
    MemoryDuties,
    MemoryScorers,
    MemoryWorkers,
)
from autoscorer.store.memory.rooms import Rooms
from autoscorer.store.memory.work import MemoryWork


class MemoryStore:
    """`base.Store` within one process."""

    def __init__(self, *, clock: Clock = kernel_clock) -> None:
        self._clock = clock
        rooms = Rooms(clock=clock)
        self._hearers = rooms.hearers
        self.jobs = MemoryJobs(rooms)
        self.work = MemoryWork(rooms)
        self.callbacks = MemoryCallbacks(rooms)
        self.scorers = MemoryScorers(rooms)
        self.access = MemoryAccess(rooms)
        self.duties = MemoryDuties(rooms)
        self.workers = MemoryWorkers(rooms)

    def now(self) -> Instant:
        return self._clock()

    def on_change(self, hear: OnChange) -> None:
        self._hearers.add(hear)

    def check(self) -> None:
        return None

    def close(self) -> None:
        return None
