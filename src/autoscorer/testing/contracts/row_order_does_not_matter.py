"""The same rows in another order get the same score."""

from __future__ import annotations

import math

from autoscorer.schemas.result import Result
from autoscorer.testing.answers import TOLERANCE, listed, plain_result, told
from autoscorer.testing.contract import BrokenContractError, DoesNotApplyError
from autoscorer.testing.forms import Variant
from autoscorer.testing.trial import Trial
from autoscorer.utils.errors import AutoscorerError


def check(trial: Trial) -> None:
    plain = plain_result(trial)
    variants = list(trial.form.reordered())
    if not variants:
        raise DoesNotApplyError("data of this form have no order that is known")
    faults = [fault for variant in variants if (fault := _difference(trial, variant, plain))]
    if faults:
        advice = "go through the rows in the order of the truth, and look the predictions up by id"
        raise BrokenContractError(listed(faults), advice)


def _difference(trial: Trial, variant: Variant, expected: Result) -> str | None:
    answer = trial.answer(variant.case)
    if isinstance(answer, AutoscorerError):
        return f"{variant.what}: {told(answer)}"
    for name, value in expected.metrics.items():
        found = answer.metrics.get(name)
        if found is None or (found != value if variant.exact else not _is_close(found, value)):
            return f"{variant.what}: {name} is {found!r} instead of {value!r}"
    return None


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
