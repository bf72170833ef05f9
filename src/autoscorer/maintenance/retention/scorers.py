"""Contents of scorers that were replaced, on this machine: gone when no job can come for them any more."""

from __future__ import annotations

from autoscorer.maintenance.loop import Duty, of_this_machine
from autoscorer.maintenance.retention.duty import EVERY_S
from autoscorer.scorers.library import Library
from autoscorer.utils.logger import log_event


def remove_unneeded_scorers(library: Library) -> list[str]:
    """Remove what is old, in no use and named by no job; gives the hashes."""
    removed = library.collect_garbage()
    if removed:
        log_event("INFO", "scorers_removed", sha256=removed)
    return removed


def scorers_duty(library: Library) -> Duty:
    """`remove_unneeded_scorers`, every hour; every load does the same."""
    return Duty(
        name=of_this_machine("scorers"), every_s=EVERY_S, work=lambda: remove_unneeded_scorers(library)
    )
