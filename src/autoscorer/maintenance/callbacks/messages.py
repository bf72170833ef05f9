"""What a callback says: the one envelope about one end of a job. The same bytes however often it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from autoscorer.reports.audience import participant_error
from autoscorer.schemas.envelope import iso, make_envelope
from autoscorer.settings.secrets import mask_secrets
from autoscorer.store.records import Attempt, Callback, Job, JsonObject
from autoscorer.utils.errors import AutoscorerError, read_error


def message_of(
    callback: Callback,
    job: Job,
    result: JsonObject | None,
    attempts: Sequence[Attempt],
    *,
    version: str,
    public_url: str | None,
    may_show_truth: bool,
    secrets: Sequence[str],
) -> bytes:
    """The body of a callback, JSON in UTF-8.

    It shows what a participant may see, since a receiver may be theirs: no hash by which the truth could
    be guessed, of an organiser's fault only its kind (all of it with ``may_show_truth``), no secret.
    """
    error = None if callback.error is None else _error(callback.error, may_show_truth=may_show_truth)
    envelope = make_envelope(
        data=_facts(callback, job, result, public_url),
        error=error,
        execution_time_s=_seconds(callback, attempts),
        version=version,
    ).model_dump(mode="json")
    envelope["meta"] |= {
        "task_id": callback.task_id,
        "callback_id": callback.callback_id,
        "timestamp": iso(callback.created_at),
    }
    # Half a surrogate pair, from the name of a file, is no UTF-8.
    text = json.dumps(mask_secrets(envelope, secrets), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace")


def _facts(callback: Callback, job: Job, result: JsonObject | None, public_url: str | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "task_id": job.task_id,
        "job_id": job.job_id,
        "action": str(job.action),
        "workspace": job.workspace,
        "state": str(callback.job_state),
        "attempt": callback.attempt,
        "links": links_of(job.task_id, public_url, has_result=result is not None),
    }
    if result is not None and callback.error is None:
        versioning: Mapping[str, str] = result.get("versioning", {})
        facts |= {
            "summary": result.get("summary", {}),
            "metrics": result.get("metrics", {}),
            "scorer": {key: versioning.get(source) for key, source in _SCORER.items()},
        }
    return facts


_SCORER = {"name": "scorer", "version": "version"}


def links_of(task_id: str, public_url: str | None, *, has_result: bool) -> dict[str, str]:
    """Where the receiver finds out more; without PUBLIC_URL the addresses begin at the service's root."""
    job = f"{(public_url or '').rstrip('/')}/api/v1/jobs/{task_id}"
    links = {"self": job, "events": f"{job}/events", "log": f"{job}/log"}
    if has_result:
        links |= {
            "result": f"{job}/result",
            "result_json": f"{job}/result.json",
            "artifacts": f"{job}/artifacts",
        }
    return links


def _error(error: JsonObject, *, may_show_truth: bool) -> AutoscorerError:
    shown = error if may_show_truth else participant_error(error)
    try:
        return read_error(shown)
    except ValueError:  # of a version that wrote errors in another way
        return AutoscorerError("INTERNAL_ERROR", "The job ended with an error that cannot be read.")


def _seconds(callback: Callback, attempts: Sequence[Attempt]) -> float:
    """How long the attempt took that ended the job; 0 for one that was cancelled before any."""
    for attempt in attempts:
        if attempt.number == callback.attempt and attempt.ended_at is not None:
            return max(0.0, (attempt.ended_at - attempt.started_at).total_seconds())
    return 0.0
