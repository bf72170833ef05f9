"""What a request is told when something stands in its way."""

from __future__ import annotations

from autoscorer.store.records import Job, NewJob
from autoscorer.utils.errors import AutoscorerError


def key_conflict(standing: Job) -> AutoscorerError:
    message = (
        f"The Idempotency-Key was used before, for another request (job {standing.task_id}). "
        "Use a new key for a new request, such as a random UUID."
    )
    return AutoscorerError("CONFLICT", message, {"task_id": standing.task_id}, cause="idempotency_key")


def label_conflict(standing: Job) -> AutoscorerError:
    message = (
        f"A job with the job_id {standing.job_id!r} is {standing.state} already (task {standing.task_id}). "
        "Wait until it has ended, cancel it, or use another job_id."
    )
    details = {"task_id": standing.task_id, "job_id": standing.job_id, "state": standing.state}
    return AutoscorerError("CONFLICT", message, details, cause="job_id")


def retry_conflict(task_id: str) -> AutoscorerError:
    message = (
        f"Job {task_id} cannot be retried now: a newer job with its job_id or its workspace is under way. "
        "Wait until that one has ended, or cancel it."
    )
    return AutoscorerError("CONFLICT", message, {"task_id": task_id}, cause="job_id")


def no_organisation(organisation_id: str) -> AutoscorerError:
    return AutoscorerError("NOT_FOUND", f"There is no organisation {organisation_id}.")


def no_place(new: NewJob) -> AutoscorerError:
    message = f"The job {new.job_id!r} could not be kept: others with its name came and went meanwhile."
    return AutoscorerError("STORE_UNAVAILABLE", message)


def name_conflict(name: str) -> AutoscorerError:
    return AutoscorerError("CONFLICT", f"There is an organisation {name!r} already.", cause="name")
