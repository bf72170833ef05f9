"""Another process, which hashes strings in another way, gives the same result."""

from __future__ import annotations

from autoscorer.testing.answers import plain_result
from autoscorer.testing.contract import BrokenContractError
from autoscorer.testing.differing import difference
from autoscorer.testing.elsewhere import score_elsewhere
from autoscorer.testing.trial import Trial

HASH_SEEDS = (1, 2)


def check(trial: Trial) -> None:
    here = plain_result(trial)
    for seed in HASH_SEEDS:
        there = score_elsewhere(trial, hash_seed=seed)
        if told := difference(here, there):
            advice = "the order of a set differs from process to process: sort it before you go through it"
            raise BrokenContractError(f"in another process {told}", advice)
