"""Parameters have valid defaults, and one that is unknown is refused."""

from __future__ import annotations

from autoscorer.testing.answers import told
from autoscorer.testing.contract import BrokenContractError, DoesNotApplyError
from autoscorer.testing.trial import Trial
from autoscorer.utils.errors import AutoscorerError

UNKNOWN = "no_such_parameter"


def check(trial: Trial) -> None:
    if trial.card.params_schema is None:
        raise DoesNotApplyError("the scorer does not declare params_model (NoParams if it takes none)")
    given = dict(trial.case.params)
    try:
        complete = trial.host.check_params(trial.entry, given)
        again = trial.host.check_params(trial.entry, complete)
    except AutoscorerError as exc:
        why = f"the parameters {given} are refused: {told(exc)}"
        raise BrokenContractError(why, "give each a valid default, or the example `params`") from exc
    if again != complete:
        why = f"{given} becomes {complete}, but that becomes {again}"
        raise BrokenContractError(why, "a default is a value that the model itself would accept")
    try:
        trial.host.check_params(trial.entry, {**given, UNKNOWN: 1})
    except AutoscorerError:
        return
    advice = "declare the model with extra='forbid': class Params(BaseModel, extra=\"forbid\")"
    raise BrokenContractError(f"a parameter {UNKNOWN!r} is accepted", advice)
