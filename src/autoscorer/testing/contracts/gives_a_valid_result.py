"""The data as they are give a complete result: headline, version, time, and the artifacts it lists."""

from __future__ import annotations

from datetime import datetime

from autoscorer.schemas.result import Result
from autoscorer.testing.answers import READ_CHECKED, listed, told
from autoscorer.testing.contract import BrokenContractError
from autoscorer.testing.trial import Run, Trial
from autoscorer.utils.errors import AutoscorerError


def check(trial: Trial) -> None:
    run = trial.run(trial.case)
    if isinstance(run.answer, AutoscorerError):
        raise BrokenContractError(f"there is no result: {told(run.answer)}", READ_CHECKED)
    faults = [
        *_headline_faults(trial, run.answer),
        *_version_faults(trial, run.answer),
        *_artifact_faults(run, run.answer),
    ]
    if faults:
        advice = "self.make_result({metric: value}) fills all of it in"
        raise BrokenContractError(listed(faults), advice)


def _headline_faults(trial: Trial, result: Result) -> list[str]:
    score = result.summary.get("score")
    if isinstance(score, bool) or not isinstance(score, float):
        return [f"summary has no number called score: {dict(result.summary)}"]
    name = trial.card.primary_metric
    if name is None:
        return []
    faults = []
    for where, values in (("metrics", result.metrics), ("summary", result.summary)):
        if values.get(name) != score:
            faults.append(f"{where} has {name} {values.get(name)!r}, but summary has score {score!r}")
    return faults


def _version_faults(trial: Trial, result: Result) -> list[str]:
    faults = [
        f"versioning has {key} {result.versioning[key]!r}, but the scorer says {declared!r}"
        for key, declared in (("scorer", trial.card.name), ("version", trial.card.version))
        if result.versioning[key] != declared
    ]
    stamp = result.versioning["timestamp"]
    try:
        datetime.fromisoformat(stamp)
    except ValueError:
        stamp = ""
    if not stamp.endswith("Z"):
        told_as = result.versioning["timestamp"]
        faults.append(f"timestamp {told_as!r} is no ISO 8601 time in UTC, such as 2026-01-31T12:00:00Z")
    return faults


def _artifact_faults(run: Run, result: Result) -> list[str]:
    listed_files = {f"output/{artifact.path}": artifact.sha256 for artifact in result.artifacts.values()}
    return [
        f"artifact {path} is listed, but its file is missing or another"
        for path, sha256 in listed_files.items()
        if run.after.get(path) != sha256
    ]
