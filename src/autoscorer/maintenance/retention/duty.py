"""The duty that keeps what is to be kept, and no more."""

from __future__ import annotations

from dataclasses import dataclass

from autoscorer.maintenance.loop import Duty
from autoscorer.maintenance.retention.jobs import remove_old_jobs
from autoscorer.maintenance.retention.outputs import remove_former_outputs
from autoscorer.maintenance.retention.submissions import Submissions
from autoscorer.store.base import Store
from autoscorer.utils.config import Settings
from autoscorer.utils.logger import log_event

EVERY_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Removed:
    """How many of each were removed."""

    jobs: int
    submissions: int
    former_outputs: int


def retain(settings: Settings, store: Store) -> Removed:
    """Remove what is older than RETENTION_DAYS and FAILED_RETENTION_DAYS say. Safe to do twice at once."""
    now, days = store.now().at, settings.retention_days
    jobs = remove_old_jobs(
        store.jobs, now=now, keep_days=days, keep_failed_days=settings.failed_retention_days
    )
    root = settings.workspace_root
    submissions = Submissions(root, store).remove_unneeded(now=now, keep_days=days) if root else []
    outputs = remove_former_outputs(root, now=now, keep_days=days) if root else []
    removed = Removed(jobs=len(jobs), submissions=len(submissions), former_outputs=len(outputs))
    if jobs or submissions or outputs:
        log_event(
            "INFO",
            "retention",
            jobs=removed.jobs,
            submissions=removed.submissions,
            former_outputs=removed.former_outputs,
        )
    return removed


def retention_duty(settings: Settings, store: Store) -> Duty:
    """`retain`, every hour."""
    return Duty(name="retention", every_s=EVERY_S, work=lambda: retain(settings, store))
