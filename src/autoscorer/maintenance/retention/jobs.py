"""Jobs that ended long ago are removed from the store, those that failed after a time of their own."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from autoscorer.store.base import Jobs
from autoscorer.store.records import Job
from autoscorer.store.transitions import FINAL, JobState

_AT_ONCE = 100  # one short transaction each


def remove_old_jobs(jobs: Jobs, *, now: datetime, keep_days: float, keep_failed_days: float) -> list[Job]:
    """Remove what is older than it is kept; 0 days: for ever. What belongs to a job goes with it."""
    succeeded = frozenset({JobState.SUCCEEDED})
    removed: list[Job] = []
    for states, days in ((succeeded, keep_days), (FINAL - succeeded, keep_failed_days)):
        if days:
            removed += _remove(jobs, states, before=now - timedelta(days=days))
    return removed


def _remove(jobs: Jobs, states: Iterable[JobState], *, before: datetime) -> list[Job]:
    removed: list[Job] = []
    while batch := jobs.remove_ended(before=before, states=frozenset(states), limit=_AT_ONCE):
        removed += batch
    return removed
