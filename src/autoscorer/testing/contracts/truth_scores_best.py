"""Predictions that are the truth get the best score there is, and nothing gets a better one."""

from __future__ import annotations

from autoscorer.testing.answers import (
    headline,
    higher_is_better,
    is_better,
    listed,
    true_headline,
    with_data,
)
from autoscorer.testing.contract import BrokenContractError
from autoscorer.testing.trial import Trial
from autoscorer.utils.errors import AutoscorerError


def check(trial: Trial) -> None:
    higher, best = higher_is_better(trial), true_headline(trial)
    low, high = trial.card.score_range or (None, None)
    bound = high if higher else low
    if bound is not None and is_better(trial, bound, best):
        why = f"the truth as predictions scores {best!r}, but score_range says that {bound!r} can be reached"
        raise BrokenContractError(why, "mend the formula, or declare the best score that there is")
    faults = []
    for variant in trial.form.worse():
        answer = trial.answer(variant.case)
        if not isinstance(answer, AutoscorerError) and is_better(trial, headline(trial, answer), best):
            fault = f"scores {headline(trial, answer)!r}, better than the truth with {best!r}"
            faults.append(with_data(trial, variant, fault))
    if faults:
        advice = f"mend the formula, or its direction: higher_is_better is {higher}"
        raise BrokenContractError(listed(faults), advice)
