"""`regression_rmse`: keys, undefined R², numbers too large to score."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from autoscorer.utils.errors import AutoscorerError, Blame
from tests.scorers.tables import score, table

TRUTH = table([(1, 1.0), (2, 2.0), (3, 4.0)])


def test_all_three_metrics_of_a_small_case(tmp_path: Path) -> None:
    result = score(tmp_path, "regression_rmse", TRUTH, table([(3, 3.0), (2, 2.0), (1, 3.0)]))
    # errors 2, 0, 1; the truth's mean is 7/3, its sum of squares 14/3
    assert result.metrics == {
        "rmse": pytest.approx(math.sqrt(5 / 3)),
        "mae": pytest.approx(1.0),
        "r2": pytest.approx(1 - 5 / (14 / 3)),
    }
    assert result.summary == {"score": result.metrics["rmse"], "rmse": result.metrics["rmse"]}
    assert "undefined" not in result.versioning


@pytest.mark.parametrize("rows", [[(1, 5.0)], [(1, 0.1), (2, 0.1), (3, 0.1)]], ids=["one row", "constant"])
def test_r2_is_left_out_and_named_where_it_is_undefined(
    rows: list[tuple[int, float]], tmp_path: Path
) -> None:
    result = score(tmp_path, "regression_rmse", table(rows), table(rows))
    assert result.metrics == {"rmse": 0.0, "mae": 0.0}
    assert json.loads(result.versioning["undefined"]) == ["r2"]


@pytest.mark.parametrize(
    ("truth", "prediction", "blame"),
    [(-1e308, 1.7e308, Blame.PARTICIPANT), (-1.7e308, 1e308, Blame.ORGANISER)],
)
def test_a_score_beyond_all_floats_is_blamed_on_the_larger_side(
    truth: float, prediction: float, blame: Blame, tmp_path: Path
) -> None:
    with pytest.raises(AutoscorerError) as caught:
        score(tmp_path, "regression_rmse", table([(1, truth)]), table([(1, prediction)]))
    assert (caught.value.code, caught.value.blame) == ("BAD_FORMAT", blame)


def test_a_column_called_value_is_read_too(tmp_path: Path) -> None:
    result = score(tmp_path, "regression_rmse", TRUTH, TRUTH.replace("label", "value"))
    assert result.metrics["rmse"] == 0.0
