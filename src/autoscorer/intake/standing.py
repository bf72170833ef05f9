"""Whether a job that stands in a request's place is what the request asked for."""

from __future__ import annotations

from autoscorer.schemas.service import JobRequest
from autoscorer.store.records import Job, Submission, SubmitOutcome
from autoscorer.utils.errors import AutoscorerError


def check_is_what_was_asked(submission: Submission, asked: JobRequest) -> None:
    """Raise WORKSPACE_BUSY when another job is under way on the workspace, and does something else.

    Who waits for an answer would take that job's score for the one that was asked for.
    """
    if submission.outcome is not SubmitOutcome.ALREADY_ACTIVE:
        return
    other = differences(submission.job, asked)
    if other:
        job = submission.job
        message = (
            f"Another job is under way on {job.workspace} (task {job.task_id}), with another "
            f"{', '.join(other)}; wait until it has ended, or cancel it."
        )
        raise AutoscorerError("WORKSPACE_BUSY", message, {"task_id": job.task_id, "differs": other})


def differences(job: Job, asked: JobRequest) -> list[str]:
    """In what ``job`` is not what ``asked`` says. A scorer by name alone is the one that was pinned."""
    pairs = {
        "action": (job.action.value, asked.action),
        "params": (job.params, asked.params),
        "backend": (job.backend or "auto", asked.backend or "auto"),
        "callback_url": (job.callback_url, asked.callback_url),
    }
    found = [name for name, (standing, wanted) in pairs.items() if standing != wanted]
    pinned = job.scorer or ""
    if asked.scorer is not None and asked.scorer not in (pinned, pinned.partition("@")[0]):
        found.append("scorer")
    return found
