"""Classification metrics against scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, fbeta_score, precision_score, recall_score

from autoscorer.metrics.classification import (
    accuracy,
    count_labels,
    fbeta_per_label,
    macro_mean,
    precision_per_label,
    recall_per_label,
)

LABELS = 6
PAIRS = st.lists(st.tuples(st.integers(0, LABELS - 1), st.integers(0, LABELS - 1)), min_size=1, max_size=60)


@settings(deadline=None)
@given(pairs=PAIRS)
def test_every_metric_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    y_true, y_pred = np.array(pairs).T
    counts = count_labels(y_true, y_pred, LABELS)
    options = {"average": None, "labels": range(LABELS), "zero_division": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "f1": f1_score(y_true, y_pred, **options),
            "f2": fbeta_score(y_true, y_pred, beta=2, **options),
            "precision": precision_score(y_true, y_pred, **options),
            "recall": recall_score(y_true, y_pred, **options),
        }
    found = {
        "f1": fbeta_per_label(counts),
        "f2": fbeta_per_label(counts, beta=2.0),
        "precision": precision_per_label(counts),
        "recall": recall_per_label(counts),
    }
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-15, atol=0, err_msg=name)
    assert accuracy(counts) == accuracy_score(y_true, y_pred)


def test_macro_f1_is_scikit_learns_default_over_the_labels_in_use() -> None:
    y_true, y_pred = np.array([0, 1, 2, 2, 0]), np.array([0, 2, 2, 1, 3])
    expected = f1_score(y_true, y_pred, average="macro", zero_division=0)
    found = macro_mean(fbeta_per_label(count_labels(y_true, y_pred, 4)))
    assert found == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_counts_do_not_depend_on_blocks_or_types(dtype: type) -> None:
    generator = np.random.default_rng(3)
    y_true, y_pred = generator.integers(0, 200, (2, 200_000))
    counts = count_labels(y_true.astype(dtype), y_pred.astype(dtype), 200)
    assert counts.true.tolist() == [int((y_true == code).sum()) for code in range(200)]
    assert counts.predicted.tolist() == [int((y_pred == code).sum()) for code in range(200)]
    right = y_true[y_true == y_pred]
    assert counts.correct.tolist() == [int((right == code).sum()) for code in range(200)]


def test_as_many_labels_as_rows_are_counted_in_one_pass() -> None:
    codes = np.arange(150_000)
    counts = count_labels(codes, codes, len(codes))
    assert macro_mean(fbeta_per_label(counts)) == 1.0


def test_the_macro_mean_does_not_depend_on_the_order_of_the_labels() -> None:
    values = np.random.default_rng(5).random(1000)
    assert macro_mean(values) == macro_mean(values[::-1]) == macro_mean(np.sort(values))
