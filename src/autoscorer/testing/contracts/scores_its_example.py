"""The example gives the metrics that it says."""

from __future__ import annotations

from autoscorer.scorers.examples import differences
from autoscorer.testing.answers import listed
from autoscorer.testing.case import Case
from autoscorer.testing.contract import BrokenContractError, DoesNotApplyError
from autoscorer.testing.trial import Trial
from autoscorer.utils.errors import AutoscorerError


def check(trial: Trial) -> None:
    example = trial.card.example
    if example is None or not example.metrics:
        raise DoesNotApplyError("the scorer has no example with metrics")
    answer = trial.answer(Case.of_example(example))
    if isinstance(answer, AutoscorerError):
        raise DoesNotApplyError("the example gives no result: see gives_a_valid_result")
    if wrong := differences(example, answer):
        advice = "compute the example's numbers by hand: either they or the scorer are wrong"
        raise BrokenContractError(listed(wrong), advice)
