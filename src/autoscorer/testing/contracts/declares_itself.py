"""Name, version and what else is declared make sense together."""

from __future__ import annotations

import math
import re

from autoscorer.schemas.scorer import ScorerCard
from autoscorer.testing.answers import listed
from autoscorer.testing.contract import BrokenContractError
from autoscorer.testing.trial import Trial

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check(trial: Trial) -> None:
    own_name = trial.entry.instance.name if trial.entry.instance else None
    faults = [*_name_faults(trial.card, own_name), *_rank_faults(trial.card)]
    if not trial.card.version.strip() or not trial.card.version.isprintable():
        faults.append(f"version {trial.card.version!r} is empty or not printable")
    if not trial.card.reference_files or not trial.card.prediction_files:
        faults.append("reference_files and prediction_files name at least one file each")
    if faults:
        advice = "mend the class attributes; `autoscorer scorers list` shows what they say"
        raise BrokenContractError(listed(faults), advice)


def _name_faults(card: ScorerCard, own_name: str | None) -> list[str]:
    faults = []
    if not NAME.fullmatch(card.name):
        faults.append(f"name {card.name!r}: letters, digits, '.', '_' and '-' only, such as my_metric")
    if own_name is not None and own_name != card.name:
        faults.append(f"registered as {card.name!r}, but its name is {own_name!r}")
    return faults


def _rank_faults(card: ScorerCard) -> list[str]:
    faults = []
    if card.primary_metric is not None and card.higher_is_better is None:
        faults.append("primary_metric is declared without higher_is_better: nobody could rank by it")
    low, high = card.score_range or (None, None)
    if any(bound is not None and not math.isfinite(bound) for bound in (low, high)):
        faults.append(f"score_range {card.score_range}: a side without a bound is None")
    elif low is not None and high is not None and not low < high:
        faults.append(f"score_range {card.score_range}: the first is the lowest score there can be")
    return faults
