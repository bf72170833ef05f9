"""Who hears of the changes that this process makes to jobs, once they are kept."""

from __future__ import annotations

from collections.abc import Callable

from autoscorer.store.clock import Instant
from autoscorer.store.moves import Change
from autoscorer.utils.logger import log_event

OnChange = Callable[[Change, Instant], None]


class Hearers:
    """Told after the transaction, in the thread that made the change. None of them can undo it."""

    def __init__(self) -> None:
        self._all: tuple[OnChange, ...] = ()

    def add(self, hear: OnChange) -> None:
        """Have ``hear`` told from now on; twice is as once."""
        if hear not in self._all:
            self._all = (*self._all, hear)

    def tell(self, change: Change, now: Instant) -> None:
        for hear in self._all:
            try:
                hear(change, now)
            except (
                Exception
            ) as exc:  # boundary of a task: what is kept is kept, whoever cannot bear to hear it
                log_event("ERROR", "change_not_heard", error=exc, task_id=change.job.task_id)
