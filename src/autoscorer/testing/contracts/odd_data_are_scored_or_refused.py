"""Unusual data that break no rule (one row, one class) get a score, or a refusal that says why."""

from __future__ import annotations

from autoscorer.testing.answers import blame_fault, listed, plain_result, with_data
from autoscorer.testing.contract import BrokenContractError, DoesNotApplyError
from autoscorer.testing.trial import Trial
from autoscorer.utils.errors import AutoscorerError


def check(trial: Trial) -> None:
    plain_result(trial)
    variants = list(trial.form.odd())
    if not variants:
        raise DoesNotApplyError("nobody can tell what is odd in data of this form")
    faults = []
    for variant in variants:
        answer = trial.answer(variant.case)
        if isinstance(answer, AutoscorerError) and (fault := blame_fault(answer, variant.role)):
            faults.append(with_data(trial, variant, fault))
    if faults:
        advice = (
            "give a score, or, where the metric is not defined, refuse: "
            'raise self.reference(workspace).fault("BAD_FORMAT", "…") if the truth leaves it undefined, '
            "self.predictions(workspace).fault(…) if the predictions do"
        )
        raise BrokenContractError(listed(faults), advice)
