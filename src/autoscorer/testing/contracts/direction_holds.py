"""Wrong predictions score worse than the truth, in the declared direction."""

from __future__ import annotations

from autoscorer.testing.answers import headline, higher_is_better, is_better, true_headline
from autoscorer.testing.contract import BrokenContractError, DoesNotApplyError
from autoscorer.testing.trial import Trial
from autoscorer.utils.errors import AutoscorerError


def check(trial: Trial) -> None:
    higher, best = higher_is_better(trial), true_headline(trial)
    scores = {}
    for variant in trial.form.worse():
        answer = trial.answer(variant.case)
        if not isinstance(answer, AutoscorerError):
            scores[variant.what] = headline(trial, answer)
    if not scores:
        raise DoesNotApplyError("no other predictions of this data give a score")
    if not any(is_better(trial, best, score) for score in scores.values()):
        seen = "; ".join(f"{what}: {score!r}" for what, score in scores.items())
        why = f"nothing scores worse than the truth with {best!r}: {seen}"
        raise BrokenContractError(why, f"mend the formula, or the direction: higher_is_better is {higher}")
