"""What a request's specification means: merged with its base, allowed or not, and which queue it goes to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from autoscorer.schemas.job import JobSpec
from autoscorer.schemas.service import JobRequest
from autoscorer.store.records import Action, Job
from autoscorer.utils.errors import AutoscorerError

HERE = "file://./input"
# What is the participant's own of a job; all else is how the organiser has it scored.
PARTICIPANT_FIELDS = frozenset({"job_id", "container"})
_LONGEST_LABEL = 119  # with a suffix it is still a label


def merged(base: JobSpec, raw: Mapping[str, Any], given: Mapping[str, Any]) -> JobSpec:
    """The specification of a workspace made from one with ``base``, whose `meta.json` holds ``raw``.

    What ``given`` leaves out is the base's, but ``job_id``, of which it gets one of its own.
    Raises CONFIG_VALIDATION_ERROR with every fault.
    """
    label = f"{base.job_id[:_LONGEST_LABEL]}-{uuid4().hex[:8]}"
    return JobSpec.from_value({**raw, "job_id": label, **given})


def at_home(spec: JobSpec, base: JobSpec) -> JobSpec:
    """``spec`` where the base's input comes along: it lies in the new workspace then."""
    return spec.model_copy(update={"input_uri": HERE}) if spec.input_uri == base.input_uri else spec


def check_participants_spec(base: JobSpec, spec: JobSpec) -> None:
    """Raise FORBIDDEN naming what a participant's specification changes and may not."""
    fields = [name for name in JobSpec.model_fields if getattr(base, name) != getattr(spec, name)]
    _refuse(sorted(set(fields) - PARTICIPANT_FIELDS))


def check_participants_request(asked: JobRequest | Job) -> None:
    """Raise FORBIDDEN naming what a participant may not choose: where it runs, how it is scored, when."""
    chosen = {
        "backend": asked.backend not in (None, "auto"),
        "params": asked.params is not None,
        "priority": asked.priority > 0,
        # A job's is what it was pinned to, chosen or not.
        "scorer": isinstance(asked, JobRequest) and asked.scorer is not None,
    }
    _refuse([name for name, is_chosen in chosen.items() if is_chosen])


def _refuse(fields: list[str]) -> None:
    if fields:
        own = " and ".join(sorted(PARTICIPANT_FIELDS, reverse=True))
        message = f"A participant chooses {own}; the organiser {', '.join(fields)}. Leave that out."
        raise AutoscorerError("FORBIDDEN", message, {"fields": fields})


def queue_for(action: Action, gpus: int) -> str:
    """The queue whose workers have what the job needs."""
    if action is Action.SCORE:
        return "score"
    return "gpu" if gpus > 0 else "cpu"


def request_sha256(asked: JobRequest) -> str:
    """The SHA-256 of a request's canonical JSON: tells two requests with one Idempotency-Key apart."""
    text = json.dumps(asked.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def stored_spec(spec: JobSpec) -> dict[str, Any]:
    """The specification as the store keeps it."""
    return spec.model_dump(mode="json", exclude_none=True)
