"""A scorer's answers as contracts judge them: is it a score, is it as good as another, is the blame right."""

from __future__ import annotations

import math

from autoscorer.reading.source import Role
from autoscorer.schemas.result import Result
from autoscorer.scorers.invoke import DECLARED_CODES
from autoscorer.testing.contract import BrokenContractError, DoesNotApplyError
from autoscorer.testing.forms import Variant
from autoscorer.testing.trial import Trial
from autoscorer.utils.errors import AutoscorerError

TOLERANCE = 1e-9
READ_CHECKED = (
    "self.load_labels(workspace), load_values, load_boxes and BaseCSVScorer find such faults and blame the "
    'right side; for your own: raise self.predictions(workspace).fault("BAD_FORMAT", "…") '
    "(or self.reference(workspace)…)"
)


def plain_result(trial: Trial) -> Result:
    """The result for the data as they are; without one there is nothing to compare with, hence a skip."""
    answer = trial.answer(trial.case)
    if isinstance(answer, AutoscorerError):
        raise DoesNotApplyError("the data as they are give no result: see gives_a_valid_result")
    return answer


def true_headline(trial: Trial) -> float:
    """The headline of predictions that are right. A skip if nobody can tell which are right."""
    plain_result(trial)
    truth = trial.form.truth()
    if truth is None:
        raise DoesNotApplyError(
            "a copy of the truth is no prediction here; give the example `perfect` predictions"
        )
    answer = trial.answer(truth)
    if isinstance(answer, AutoscorerError):
        why = f"predictions that are the truth itself are refused: {told(answer)}"
        raise BrokenContractError(why, "accept them, or give the example `perfect` predictions")
    return headline(trial, answer)


def headline(trial: Trial, result: Result) -> float:
    """The number that ranks. A skip if the result has none."""
    found = trial.headline(result)
    if found is None:
        raise DoesNotApplyError("the result has no headline: see gives_a_valid_result")
    return found


def higher_is_better(trial: Trial) -> bool:
    """The declared direction; a skip without one."""
    if trial.card.higher_is_better is None:
        raise DoesNotApplyError("the scorer does not declare higher_is_better")
    return trial.card.higher_is_better


def is_better(trial: Trial, one: float, other: float) -> bool:
    """Whether ``one`` ranks clearly before ``other`` in the declared direction."""
    close = math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return not close and (one > other) == higher_is_better(trial)


def blame_fault(answer: AutoscorerError, role: Role) -> str | None:
    """What is wrong with ``answer`` as a refusal for a fault of ``role``, None if nothing is."""
    if answer.code not in DECLARED_CODES:
        return f"the scorer failed: {told(answer)}"
    if answer.cause != role:
        return f"the {answer.cause} is blamed, but the {role} is at fault: {told(answer)}"
    return None


def told(error: AutoscorerError) -> str:
    """An error in one line."""
    return f"{error.code}, fault of the {error.blame}: {error.message}"


def listed(faults: list[str]) -> str:
    """Some sentences, one a line, at most eight."""
    shown = [f"- {fault}" for fault in faults[:8]]
    more = len(faults) - len(shown)
    return "\n".join([*shown, f"- … and {more} more"] if more > 0 else shown)


def with_data(trial: Trial, variant: Variant, fault: str) -> str:
    """A fault, and the file that brought it about as far as it is small."""
    name = variant.case.name_of(trial.card, variant.role)
    shown = "" if name is None else f" ({name}: {variant.case.shown(variant.role, name)})"
    return f"{variant.what}: {fault}{shown}"
