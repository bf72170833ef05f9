"""Which boxes meet: every predicted box with the true boxes of its image and category, and their IoU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autoscorer.metrics.detection import FloatArray, IntArray, PredictedColumns, TrueColumns, within_limit

# At a time: 16 MiB an intermediate array.
BLOCK_PAIRS = 2**21
SLOTS_A_ROW = 4


@dataclass(frozen=True)
class Pairs:
    """Some predicted boxes with all their true ones, ordered by predicted box.

    ``rows`` are positions in the given order of predictions; pair ``i`` is ``rows[of_row[i]]`` with the true
    box ``true[i]``; the pairs of ``rows[k]`` begin at ``starts[k]``.
    """

    rows: IntArray
    starts: IntArray
    of_row: IntArray
    true: IntArray
    iou: FloatArray


def pairs_in_blocks(
    truth: TrueColumns, predicted: PredictedColumns, order: IntArray, *, n_images: int
) -> Iterator[Pairs]:
    """All pairs, predictions taken in ``order``; those that meet no true box are left out."""
    group = truth.categories * n_images + truth.images
    by_group = np.argsort(group, kind="stable")
    wanted = (predicted.categories * n_images + predicted.images)[order]
    begins, counts = _runs(group[by_group], wanted)
    candidates = np.flatnonzero(counts)
    ends = np.arange(BLOCK_PAIRS, int(counts.sum()), BLOCK_PAIRS, dtype=np.int64)
    for rows in np.split(candidates, np.searchsorted(np.cumsum(counts[candidates]), ends, side="left")):
        if not len(rows):
            continue
        of_row = np.repeat(np.arange(len(rows)), counts[rows])
        starts = np.cumsum(counts[rows]) - counts[rows]
        true = by_group[np.arange(len(of_row)) - (starts - begins[rows])[of_row]]
        yield Pairs(rows, starts, of_row, true, _iou(predicted.boxes[order[rows]][of_row], truth.boxes[true]))


def best_overlaps(truth: TrueColumns, predicted: PredictedColumns, *, n_images: int) -> FloatArray:
    """For each true box the largest IoU with a predicted box of its image and category, 0 without one.

    Only the 100 predicted boxes of highest score of an image and category are looked at.
    """
    best = np.zeros(len(truth.categories))
    looked_at = np.flatnonzero(within_limit(predicted, n_images))
    for pairs in pairs_in_blocks(truth, predicted, looked_at, n_images=n_images):
        np.maximum.at(best, pairs.true, pairs.iou)
    return best


def _runs(group: IntArray, wanted: IntArray) -> tuple[IntArray, IntArray]:
    """Where in the ascending ``group`` the run of each wanted value begins, and how long it is."""
    n_slots = 1 + max(int(group[-1]) if len(group) else 0, int(wanted.max()) if len(wanted) else 0)
    if n_slots > SLOTS_A_ROW * (len(group) + len(wanted)):
        begins = np.searchsorted(group, wanted, side="left")
        return begins, np.searchsorted(group, wanted, side="right") - begins
    # A table of all values: five times as fast for 500,000 boxes.
    counts = np.bincount(group, minlength=n_slots)
    return (np.cumsum(counts) - counts)[wanted], counts[wanted]


def _iou(left: FloatArray, right: FloatArray) -> FloatArray:
    """IoU row by row of x, y, width, height boxes; 0 where either has no area."""
    low = np.maximum(left[:, :2], right[:, :2])
    high = np.minimum(left[:, :2] + left[:, 2:], right[:, :2] + right[:, 2:])
    sides = np.clip(high - low, 0.0, None)
    # Columns multiplied: four times as fast as `prod` over rows of two, and the same bits.
    shared = sides[:, 0] * sides[:, 1]
    union = left[:, 2] * left[:, 3] + right[:, 2] * right[:, 3] - shared
    iou = np.zeros(len(shared))
    np.divide(shared, union, out=iou, where=union > 0)
    return iou
