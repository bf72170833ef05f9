"""Another working directory, an empty environment and another time zone give the same result."""

from __future__ import annotations

from autoscorer.testing.answers import plain_result
from autoscorer.testing.contract import BrokenContractError, DoesNotApplyError
from autoscorer.testing.differing import difference
from autoscorer.testing.elsewhere import score_elsewhere
from autoscorer.testing.trial import Trial
from autoscorer.utils.errors import AutoscorerError

HASH_SEED = 1


def check(trial: Trial) -> None:
    if trial.entry.instance is None:
        raise DoesNotApplyError("it computes in a child whose folder and environment are always the same")
    plain_result(trial)
    # Two other processes are compared, so that only their surroundings differ.
    home = score_elsewhere(trial, hash_seed=HASH_SEED)
    if isinstance(home, AutoscorerError):
        raise DoesNotApplyError("another process gives no result: see same_in_another_process")
    abroad = score_elsewhere(trial, hash_seed=HASH_SEED, at_home=False)
    if told := difference(home, abroad):
        advice = (
            "read nothing but the workspace: what a scorer needs besides belongs into its params, "
            "or into its file"
        )
        raise BrokenContractError(f"in another folder, with an empty environment, {told}", advice)
