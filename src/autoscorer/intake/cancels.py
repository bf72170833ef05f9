"""Who has cancelled a job, and whether that is another's to undo."""

from __future__ import annotations

from autoscorer.store.base import Jobs
from autoscorer.store.records import Job
from autoscorer.store.transitions import JobState
from autoscorer.utils.errors import AutoscorerError

_PAGE = 1000


def check_cancelled_by(jobs: Jobs, job: Job, subject: str) -> None:
    """Raise FORBIDDEN if ``job`` was cancelled by anybody but ``subject``."""
    if job.state is not JobState.CANCELLED:
        return
    by = _cancelled_by(jobs, job)
    if by not in (None, subject):
        message = "The job was cancelled by somebody with more say; ask them to retry it."
        raise AutoscorerError("FORBIDDEN", message, {"task_id": job.task_id})


def _cancelled_by(jobs: Jobs, job: Job) -> str | None:
    """Who asked first after the latest retry: whoever asks again changes nothing."""
    by, after = None, 0
    while found := jobs.events(job.task_id, after=after, limit=_PAGE):
        for event in found:
            if event.name == "job_retried":
                by = None
            elif event.name in ("job_cancel_asked", "job_cancelled"):
                by = by or event.facts.get("by")
        after = found[-1].number
    return by
