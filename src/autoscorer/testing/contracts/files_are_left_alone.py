"""Scoring writes nothing but artifacts: truth, input and predictions are as before."""

from __future__ import annotations

from autoscorer.testing.answers import listed, plain_result
from autoscorer.testing.contract import BrokenContractError
from autoscorer.testing.trial import Run, Trial

ARTIFACTS = "output/artifacts"


def check(trial: Trial) -> None:
    plain_result(trial)
    changed = _changed(trial.run(trial.case))
    if changed:
        advice = "hand files over with self.write_artifact(workspace, name, content); write nothing else"
        raise BrokenContractError(listed(changed), advice)


def _changed(run: Run) -> list[str]:
    names = {name for name in {**run.before, **run.after} if not f"{name}/".startswith(f"{ARTIFACTS}/")}
    told = {(False, True): "was made", (True, False): "was removed", (True, True): "was changed"}
    return [
        f"{name} {told[name in run.before, name in run.after]}"
        for name in sorted(names)
        if run.before.get(name) != run.after.get(name)
    ]
