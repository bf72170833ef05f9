"""Every score lies in the declared range."""

from __future__ import annotations

from autoscorer.testing.answers import TOLERANCE, headline, listed, plain_result, with_data
from autoscorer.testing.contract import BrokenContractError, DoesNotApplyError
from autoscorer.testing.trial import Trial
from autoscorer.utils.errors import AutoscorerError


def check(trial: Trial) -> None:
    if trial.card.score_range is None:
        raise DoesNotApplyError("the scorer does not declare score_range")
    plain_result(trial)
    low, high = trial.card.score_range
    faults = []
    for variant in (*trial.form.worse(), *trial.form.odd()):
        answer = trial.answer(variant.case)
        if isinstance(answer, AutoscorerError):
            continue
        score = headline(trial, answer)
        below = low is not None and score < low - TOLERANCE
        if below or (high is not None and score > high + TOLERANCE):
            faults.append(with_data(trial, variant, f"scores {score!r}"))
    if faults:
        advice = f"mend the formula, or the range: score_range is {trial.card.score_range}"
        raise BrokenContractError(listed(faults), advice)
