"""What a scorer's own example says is true, and would be found out if it were not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.examples import differences, lay_out
from autoscorer.scorers.host import Entry, InProcess

BUILT_IN = {entry.card.name: entry for entry in Catalog().entries() if entry.card.origin == "builtin"}


@pytest.mark.parametrize("entry", BUILT_IN.values(), ids=BUILT_IN)
def test_a_built_in_scorer_scores_its_example_as_it_says(entry: Entry, tmp_path: Path) -> None:
    example = entry.card.example
    assert example is not None
    scored = InProcess().score(entry, lay_out(example, tmp_path / "view"), example.params)
    assert example.metrics
    assert differences(example, scored.result) == []


def test_a_metric_that_is_another_or_missing_is_told(tmp_path: Path) -> None:
    entry = BUILT_IN["regression_rmse"]
    assert entry.card.example is not None
    wrong = replace(entry.card.example, metrics={"rmse": 1.0 + 1e-6, "mae": 0.5 + 1e-12, "mape": 0.1})
    scored = InProcess().score(entry, lay_out(wrong, tmp_path / "view"), {})
    assert differences(wrong, scored.result) == [
        "rmse is 1.000001 in the example and 1.0 in the result",
        "mape is 0.1 in the example and missing in the result",
    ]
