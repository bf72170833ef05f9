"""Classification metrics from label counts. Class: sums (counts of row ranges add up)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.integer[Any]]
FloatArray = NDArray[np.float64]
BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class LabelCounts:
    """Rows per label, each an int64 array over the labels' codes: right ones, true ones, predicted ones."""

    correct: NDArray[np.int64]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]


def count_labels(y_true: IntArray, y_pred: IntArray, n_labels: int) -> LabelCounts:
    """Count codes (0 ≤ code < n_labels) of two arrays of equal length."""
    correct, true, predicted = (np.zeros(n_labels, dtype=np.int64) for _ in range(3))
    # Many labels make each count as long as a block: then one pass over all rows is the cheaper one.
    step = BLOCK_ROWS if n_labels < BLOCK_ROWS // 16 else max(1, len(y_true))
    for start in range(0, len(y_true), step):
        truth, delivered = y_true[start : start + step], y_pred[start : start + step]
        true += np.bincount(truth, minlength=n_labels)
        predicted += np.bincount(delivered, minlength=n_labels)
        correct += np.bincount(truth[truth == delivered], minlength=n_labels)
    return LabelCounts(correct, true, predicted)


def precision_per_label(counts: LabelCounts) -> NDArray[np.float64]:
    """Share of a label's predictions that are right; 0 for a label nobody predicted."""
    return _ratio(counts.correct, counts.predicted)


def recall_per_label(counts: LabelCounts) -> NDArray[np.float64]:
    """Share of a label's rows that are predicted right; 0 for a label that is not in the truth."""
    return _ratio(counts.correct, counts.true)


def fbeta_per_label(counts: LabelCounts, *, beta: float = 1.0) -> NDArray[np.float64]:
    """(1+β²)·correct / (β²·true + predicted), scikit-learn's ``fbeta_score`` with ``zero_division=0``."""
    weight = beta * beta
    return _ratio((1.0 + weight) * counts.correct, weight * counts.true + counts.predicted)


def macro_mean(per_label: NDArray[np.float64]) -> float:
    """The unweighted mean over labels, correctly rounded whatever their order."""
    return math.fsum(per_label.tolist()) / len(per_label)


def accuracy(counts: LabelCounts) -> float:
    """Share of rows predicted right; there is at least one row."""
    return int(counts.correct.sum()) / int(counts.true.sum())


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    """Elementwise quotient, 0 where the denominator is 0."""
    quotient = np.zeros(len(denominator), dtype=np.float64)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient
