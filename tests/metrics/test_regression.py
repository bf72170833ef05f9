"""Regression metrics against scikit-learn and exact arithmetic."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from autoscorer.metrics.regression import regression_scores

USUAL = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))
ANY = st.floats(allow_nan=False, allow_infinity=False)


def pairs(values: st.SearchStrategy[float]) -> st.SearchStrategy[list[tuple[float, float]]]:
    return st.lists(st.tuples(values, values), min_size=2, max_size=40)


@settings(deadline=None)
@given(pairs=pairs(USUAL))
def test_every_metric_is_scikit_learns(pairs: list[tuple[float, float]]) -> None:
    y_true, y_pred = np.array(pairs).T
    scores = regression_scores(y_true, y_pred)
    assert scores.rmse == pytest.approx(root_mean_squared_error(y_true, y_pred), rel=1e-12)
    assert scores.mae == pytest.approx(mean_absolute_error(y_true, y_pred), rel=1e-12)
    if len(set(y_true)) == 1:
        assert scores.r2 is None
    else:
        assert scores.r2 == pytest.approx(r2_score(y_true, y_pred), rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(pairs=pairs(ANY))
def test_no_finite_numbers_overflow_or_vanish_on_the_way(pairs: list[tuple[float, float]]) -> None:
    y_true, y_pred = np.array(pairs).T
    scores = regression_scores(y_true, y_pred)
    errors = [abs(Fraction(one) - Fraction(other)) for one, other in pairs]
    mean_square = sum((error * error for error in errors), Fraction(0)) / len(errors)
    if scores.mae is None:
        assert Fraction(statistics.mean(errors)) > Fraction(1.79e308)
    else:
        assert close(Fraction(scores.mae), Fraction(statistics.mean(errors)))
    if scores.rmse is None:
        assert mean_square > Fraction(1.79e308) ** 2
    else:
        assert close(Fraction(scores.rmse) ** 2, mean_square)


def close(found: Fraction, exact: Fraction) -> bool:
    """Within 1e-12, or where a float has no digits left within the least of them."""
    return abs(found - exact) <= exact * Fraction(1, 10**12) + Fraction(2, 2**1074) * max(1, int(exact))


def test_the_largest_differences_have_no_score() -> None:
    scores = regression_scores(np.array([-1.7e308]), np.array([1.7e308]))
    assert (scores.rmse, scores.mae, scores.r2) == (None, None, None)


def test_a_mean_that_a_float_holds_is_found_though_a_difference_overflows() -> None:
    scores = regression_scores(np.array([-1e308, 0.0, 0.0, 0.0]), np.array([1e308, 0.0, 0.0, 0.0]))
    assert scores.rmse == pytest.approx(1e308, rel=1e-15)  # sqrt((2e308)² / 4)
    assert scores.mae == pytest.approx(0.5e308, rel=1e-15)
    assert scores.r2 == pytest.approx(1 - 4 / 0.75, rel=1e-12)


@pytest.mark.parametrize("truth", [[5.0], [0.1, 0.1, 0.1], [1e308, 1e308], [0.0, -0.0]])
def test_r2_of_a_constant_truth_is_undefined(truth: list[float]) -> None:
    assert regression_scores(np.array(truth), np.zeros(len(truth))).r2 is None


def test_tiny_numbers_keep_their_digits() -> None:
    truth = np.array([1e-300, 2e-300, 4e-300])
    scores = regression_scores(truth, truth[::-1].copy())
    scaled = regression_scores(truth * 1e300, truth[::-1] * 1e300)
    assert scores.rmse == pytest.approx(math.sqrt(6) * 1e-300, rel=1e-14)
    assert scores.r2 == pytest.approx(scaled.r2, rel=1e-12)


def test_a_perfect_prediction_scores_best() -> None:
    truth = np.random.default_rng(1).normal(size=200_000)
    scores = regression_scores(truth, truth)
    assert (scores.rmse, scores.mae, scores.r2) == (0.0, 0.0, 1.0)


def test_blocks_are_summed_as_the_design_says() -> None:
    truth, delivered = np.random.default_rng(2).normal(size=(2, 200_001))
    blocks = [
        float(np.sum((truth[start : start + 65_536] - delivered[start : start + 65_536]) ** 2))
        for start in range(0, len(truth), 65_536)
    ]
    assert regression_scores(truth, delivered).rmse == math.sqrt(math.fsum(blocks) / len(truth))
