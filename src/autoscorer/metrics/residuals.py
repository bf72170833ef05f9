"""Where predicted numbers are off: the worst rows, quantiles of the residuals, an even sample.

A residual is predicted − true. Class: columns (exact order statistics), in memory of a few blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from autoscorer.metrics.regression import BLOCK_ROWS, FloatArray

Rows = NDArray[np.int64]
# A residual's bits without the last 48: sign, exponent and 4 more tell buckets apart (6 % wide).
DROPPED_BITS = 48
BUCKETS = 2 ** (64 - DROPPED_BITS)
# The buckets from the lowest value to the highest: a negative float's bits count downwards.
_ASCENDING = np.concatenate([np.arange(BUCKETS - 1, BUCKETS // 2 - 1, -1), np.arange(BUCKETS // 2)])
# As long as the table of buckets, whose counts are added once a block.
STEP_ROWS = 2 * BLOCK_ROWS


def worst_rows(y_true: FloatArray, y_pred: FloatArray, *, most: int) -> Rows:
    """Positions of the ``most`` rows with the largest absolute residuals, the largest first.

    Of equal ones the first rows; rows without any residual are left out.
    """
    rows, errors, least = np.zeros(0, dtype=np.int64), np.zeros(0), 0.0
    for start, residuals in _residuals(y_true, y_pred):
        magnitudes = np.abs(residuals)
        found = np.flatnonzero(magnitudes > least)
        if not len(found):
            continue
        if len(found) > most:
            edge = np.partition(magnitudes[found], len(found) - most)[len(found) - most]
            found = found[magnitudes[found] >= edge]
        rows = np.concatenate([rows, found + start])
        errors = np.concatenate([errors, magnitudes[found]])
        order = np.lexsort((rows, -errors))[:most]
        rows, errors = rows[order], errors[order]
        if len(rows) == most:
            least = float(errors[-1])
    return rows


def residual_quantiles(y_true: FloatArray, y_pred: FloatArray, shares: Sequence[float]) -> list[float]:
    """For each share (0 … 1) the least residual that so many rows do not exceed; at least one row.

    Each is the residual of a row, as `numpy.quantile` has it by ``inverted_cdf``. Exact: rows are counted
    by bucket first, then only the buckets that hold a quantile are looked into (ten million rows: 0.06 s;
    `numpy.partition` of all takes 0.24 s).
    """
    ranks = [max(math.ceil(share * len(y_true)), 1) - 1 for share in shares]
    if len(y_true) <= STEP_ROWS:
        with np.errstate(over="ignore"):
            ordered = np.sort(y_pred - y_true)
        return [float(residual) for residual in ordered[ranks]]
    counts = np.zeros(BUCKETS, dtype=np.int64)
    for _, residuals in _residuals(y_true, y_pred):
        counts += np.bincount(_buckets(residuals), minlength=BUCKETS)
    ends = np.cumsum(counts[_ASCENDING])
    places = np.searchsorted(ends, ranks, side="right")
    buckets, local = _ASCENDING[places], ranks - (ends - counts[_ASCENDING])[places]
    found = np.zeros(len(ranks))
    for bucket, members in _members(y_true, y_pred, buckets):
        here = buckets == bucket
        found[here] = np.partition(members, local[here])[local[here]]
    return [float(residual) for residual in found]


def even_rows(n_rows: int, *, most: int) -> Rows:
    """At most ``most`` positions, evenly spread over all."""
    wanted = min(n_rows, most)
    return np.arange(wanted) * n_rows // max(wanted, 1)


def _members(y_true: FloatArray, y_pred: FloatArray, wanted: Rows) -> Iterator[tuple[int, FloatArray]]:
    """Each wanted bucket and the residuals in it."""
    is_wanted = np.zeros(BUCKETS, dtype=bool)
    is_wanted[wanted] = True
    blocks = (residuals for _, residuals in _residuals(y_true, y_pred))
    found = np.concatenate([block[is_wanted[_buckets(block)]] for block in blocks])
    buckets = _buckets(found)
    return ((bucket, found[buckets == bucket]) for bucket in set(wanted.tolist()))


def _residuals(y_true: FloatArray, y_pred: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """Position of the first row of each block, and the block's residuals (infinite beyond a float)."""
    for start in range(0, len(y_true), STEP_ROWS):
        end = start + STEP_ROWS
        with np.errstate(over="ignore"):
            yield start, y_pred[start:end] - y_true[start:end]


def _buckets(residuals: FloatArray) -> Rows:
    return (residuals.view(np.uint64) >> DROPPED_BITS).view(np.int64)
