"""Files that break a rule (garbled, ids twice or missing, nan) are refused, and the right side is blamed."""

from __future__ import annotations

from autoscorer.reading.source import Role
from autoscorer.schemas.result import Result
from autoscorer.testing.answers import READ_CHECKED, blame_fault, listed, plain_result, with_data
from autoscorer.testing.contract import BrokenContractError
from autoscorer.testing.forms import Variant
from autoscorer.testing.trial import Trial
from autoscorer.utils.errors import AutoscorerError


def check(trial: Trial) -> None:
    plain_result(trial)
    faults = []
    for variant in trial.form.faulty():
        answer = trial.answer(variant.case)
        wrong = (
            blame_fault(answer, variant.role)
            if isinstance(answer, AutoscorerError)
            else _score_fault(trial, variant, answer)
        )
        if wrong is not None:
            faults.append(with_data(trial, variant, wrong))
    if faults:
        raise BrokenContractError(listed(faults), READ_CHECKED)


def _score_fault(trial: Trial, variant: Variant, result: Result) -> str | None:
    """A faulty truth is never scored; faulty predictions may be, but not as if they were right."""
    if variant.scorable:
        return None
    if variant.role is Role.REFERENCE:
        return f"scored {trial.headline(result)!r}, though the truth is faulty"
    truth = trial.form.truth()
    right = None if truth is None else trial.answer(truth)
    if isinstance(right, Result) and trial.headline(right) == trial.headline(result):
        return f"scored {trial.headline(result)!r}, as if nothing were wrong"
    return None
