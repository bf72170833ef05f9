"""Rows to records and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping

from autoscorer.store.clock import Deadline
from autoscorer.store.records import (
    Action,
    Attempt,
    AttemptEnd,
    Callback,
    CallbackState,
    Event,
    Job,
    Organisation,
    Presence,
    Role,
    StoredResult,
    StoredScorer,
    StoredToken,
)
from autoscorer.store.transitions import JobState


def job_of(row: RowMapping) -> Job:
    given = _with_deadline(row)
    return Job(**{**given, "action": Action(given["action"]), "state": JobState(given["state"])})


def values_of(record: Any) -> dict[str, Any]:
    """A record as column values; a deadline takes two of them."""
    values = dict(vars(record))
    if "until" in values:
        values |= until_values(values.pop("until"))
    return values


def until_values(until: Deadline | None) -> dict[str, Any]:
    return {"until_era": until.era if until else None, "until_s": until.elapsed_s if until else None}


def changed_values(before: Any, after: Any) -> dict[str, Any]:
    """The columns in which ``after`` differs from ``before``."""
    former = vars(before)
    changed = {name: value for name, value in vars(after).items() if former[name] != value}
    if "until" in changed:
        changed |= until_values(changed.pop("until"))
    return changed


def attempt_of(row: RowMapping) -> Attempt:
    return Attempt(**{**row, "end": AttemptEnd(row["end"]) if row["end"] else None})


def event_of(row: RowMapping) -> Event:
    return Event(**row)


def result_of(row: RowMapping) -> StoredResult:
    return StoredResult(**row)


def callback_of(row: RowMapping) -> Callback:
    given = _with_deadline(row)
    given.pop("seq")
    states = {"job_state": JobState(given["job_state"]), "state": CallbackState(given["state"])}
    return Callback(**{**given, **states})


def scorer_of(row: RowMapping) -> StoredScorer:
    return StoredScorer(**row)


def organisation_of(row: RowMapping) -> Organisation:
    return Organisation(**row)


def token_of(row: RowMapping) -> StoredToken:
    return StoredToken(**{**row, "role": Role(row["role"])})


def presence_of(row: RowMapping) -> Presence:
    given = {field.name: row[field.name] for field in dataclasses.fields(Presence)}
    return Presence(**{**given, "queues": tuple(given["queues"])})


def deadline_of(row: Mapping[Any, Any]) -> Deadline | None:
    if row["until_s"] is None:
        return None
    return Deadline(era=row["until_era"], elapsed_s=row["until_s"])


def _with_deadline(row: RowMapping) -> dict[str, Any]:
    given: dict[str, Any] = dict(row)
    given["until"] = deadline_of(given)
    del given["until_era"], given["until_s"]
    return given
