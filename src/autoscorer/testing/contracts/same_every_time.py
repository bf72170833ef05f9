"""Ten scorings of the same data give the same result."""

from __future__ import annotations

from autoscorer.testing.answers import plain_result
from autoscorer.testing.contract import BrokenContractError
from autoscorer.testing.differing import difference
from autoscorer.testing.trial import Trial, run_afresh

TIMES = 10


def check(trial: Trial) -> None:
    first = plain_result(trial)
    for time in range(2, TIMES + 1):
        answer = run_afresh(trial.host, trial.entry, trial.case).answer
        if told := difference(first, answer):
            advice = "keep nothing between two scorings, and use no clock and no unseeded random numbers"
            raise BrokenContractError(f"scoring {time} of {TIMES} differs from the first: {told}", advice)
