"""Worst rows and exact quantiles of residuals, against numpy's own over everything at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscorer.metrics import residuals
from autoscorer.metrics.residuals import even_rows, residual_quantiles, worst_rows

SHARES = (0.0, 0.01, 0.25, 0.5, 0.9, 1.0)
# Few values, so that many are equal; among them what lies far apart, and next to each other.
numbers = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.5, 1e-320, -1e-320, 1e300, -1e300, 2.0, 2.0 + 4e-16])
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=80)


@given(pairs, st.integers(1, 90), st.sampled_from([1, 8, 131_072]))
def test_the_worst_rows_are_those_of_a_whole_sort(
    drawn: list[tuple[float, float]], most: int, step: int
) -> None:
    y_true, y_pred = np.array(drawn).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(residuals, "STEP_ROWS", step)
        found = worst_rows(y_true, y_pred, most=most).tolist()
    errors = [abs(there - here) for here, there in drawn]
    assert (
        found
        == sorted((row for row, error in enumerate(errors) if error), key=lambda row: (-errors[row], row))[
            :most
        ]
    )


@given(pairs, st.sampled_from([1, 8, 131_072]))
def test_quantiles_are_numpys_inverted_distribution(drawn: list[tuple[float, float]], step: int) -> None:
    y_true, y_pred = np.array(drawn).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(residuals, "STEP_ROWS", step)
        found = residual_quantiles(y_true, y_pred, SHARES)
    assert found == np.quantile(y_pred - y_true, SHARES, method="inverted_cdf").tolist()


def test_quantiles_of_many_rows_are_exact_too() -> None:
    rng = np.random.default_rng(5)
    y_true = rng.normal(0, 10, 700_001)
    y_pred = y_true + rng.normal(0, 1, 700_001) ** 3
    expected = np.quantile(y_pred - y_true, SHARES, method="inverted_cdf").tolist()
    assert residual_quantiles(y_true, y_pred, SHARES) == expected


def test_a_difference_beyond_any_float_is_the_worst_and_no_warning() -> None:
    y_true, y_pred = np.array([0.0, -1.7e308, 1.0]), np.array([5.0, 1.7e308, 1.0])
    assert worst_rows(y_true, y_pred, most=2).tolist() == [1, 0]
    assert residual_quantiles(y_true, y_pred, [1.0]) == [np.inf]


def test_rows_to_draw_are_spread_evenly() -> None:
    assert even_rows(10, most=5).tolist() == [0, 2, 4, 6, 8]
    assert even_rows(3, most=5).tolist() == [0, 1, 2]
