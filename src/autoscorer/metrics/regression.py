"""Regression metrics from sums over blocks of rows. Class: sums.

numpy sums blocks of 65,536 rows, `math.fsum` adds the blocks: the result depends on the order of the rows
and on nothing else, neither threads nor shards that end on block borders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Blocks = Callable[[], Iterator[FloatArray]]
BLOCK_ROWS = 65_536
# A sum of squares between these has lost nothing that matters to overflow or underflow.
SAFE_SQUARES = (2.0**-800, 2.0**900)


@dataclass(frozen=True)
class RegressionScores:
    """None is a score that no 64-bit float holds; ``r2`` is undefined for a constant truth too."""

    rmse: float | None
    mae: float | None
    r2: float | None


@dataclass(frozen=True)
class _PowerSums:
    """Σ|x| = absolutes·2^shift and Σx² = squares·4^shift."""

    absolutes: float
    squares: float
    shift: int


def regression_scores(y_true: FloatArray, y_pred: FloatArray) -> RegressionScores:
    """RMSE, MAE and R² = 1 - Σ(t-p)²/Σ(t-mean)² of two finite arrays of equal length, at least one row.

    A score that a float can hold never overflows or underflows on the way.
    """
    low, high = float(y_true.min()), float(y_true.max())
    largest = max(-low, high, -float(y_pred.min()), float(y_pred.max()))
    # A quarter of it all is exact, and its differences cannot overflow.
    quarters = 2 if largest >= 2.0**1021 else 0
    if quarters:
        y_true, y_pred = y_true * 0.25, y_pred * 0.25
    errors = _power_sums(lambda: (t - p for t, p in zip(_blocks(y_true), _blocks(y_pred), strict=True)))
    rows = len(y_true)
    return RegressionScores(
        rmse=_scaled(math.sqrt(errors.squares / rows), errors.shift + quarters),
        mae=_scaled(errors.absolutes / rows, errors.shift + quarters),
        r2=None if low == high else _r2(y_true, errors),
    )


def _r2(y_true: FloatArray, errors: _PowerSums) -> float | None:
    total = _power_sums(lambda: _blocks(y_true))
    mean = math.ldexp(math.fsum(_sums_of(y_true, total.shift)) / len(y_true), total.shift)
    deviations = _power_sums(lambda: (block - mean for block in _blocks(y_true)))
    share = _scaled(errors.squares / deviations.squares, 2 * (errors.shift - deviations.shift))
    return None if share is None else 1.0 - share


def _sums_of(values: FloatArray, shift: int) -> Iterator[float]:
    return (float(np.sum(np.ldexp(block, -shift) if shift else block)) for block in _blocks(values))


def _power_sums(blocks: Blocks) -> _PowerSums:
    """Sums of magnitudes and squares; outside the safe range once more with the largest brought to 1."""
    with np.errstate(over="ignore", under="ignore"):
        sums = _power_sums_at(blocks, 0)
        if SAFE_SQUARES[0] < sums.squares < SAFE_SQUARES[1]:
            return sums
        largest = max(float(np.max(np.abs(block))) for block in blocks())
        return _power_sums_at(blocks, math.frexp(largest)[1]) if largest else _PowerSums(0.0, 0.0, 0)


def _power_sums_at(blocks: Blocks, shift: int) -> _PowerSums:
    absolutes: list[float] = []
    squares: list[float] = []
    for block in blocks():
        # Powers of two are exact. Not np.dot: a BLAS may add in another order with more threads.
        magnitude = np.abs(np.ldexp(block, -shift) if shift else block)
        absolutes.append(float(np.sum(magnitude)))
        squares.append(float(np.sum(magnitude * magnitude)))
    return _PowerSums(_total(absolutes), _total(squares), shift)


def _total(sums: list[float]) -> float:
    try:
        return math.fsum(sums)
    except OverflowError:  # finite sums of blocks whose sum is not
        return math.inf


def _blocks(values: FloatArray) -> Iterator[FloatArray]:
    return (values[start : start + BLOCK_ROWS] for start in range(0, len(values), BLOCK_ROWS))


def _scaled(value: float, shift: int) -> float | None:
    """``value``·2^shift, None when that is too large for a float."""
    try:
        return math.ldexp(value, shift)
    except OverflowError:
        return None
