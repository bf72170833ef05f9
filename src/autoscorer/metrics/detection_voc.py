"""Detection metrics by the PASCAL VOC standard: average precision at IoU 0.5. Class: columns.

Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010, and `VOCevaldet.m` and
`VOCap.m` of its development kit since 2010: a predicted box belongs to the true box of its image and
category that it overlaps most (the first of equals); it is right if their IoU is at least 0.5 and no box of
higher score took that true box before, else wrong; if the true box is difficult it counts for nothing.
The average precision is the whole area under the precision-recall curve, made falling, not the eleven
points of 2007. Boxes are continuous, so no pixel is added to widths. Crowd boxes count as difficult.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autoscorer.metrics.detection import BoolArray, FloatArray, IntArray, PredictedColumns, TrueColumns

MIN_IOU = 0.5
RECALLS = 101
# Pairs of boxes compared at a time: 16 MiB an intermediate array.
BLOCK_PAIRS = 2**21


@dataclass(frozen=True)
class VocCurve:
    """One category's predictions from the highest score down; ``precision`` is not yet made falling."""

    recall: FloatArray
    precision: FloatArray

    def average_precision(self) -> float:
        steps = np.diff(self.recall, prepend=0.0)
        return math.fsum((steps * self._falling()).tolist())

    def precision_at(self, recalls: FloatArray) -> FloatArray:
        """The highest precision at that recall or beyond; 0 where the curve does not reach."""
        position = np.searchsorted(self.recall, recalls, side="left")
        return np.append(self._falling(), 0.0)[position]

    def _falling(self) -> FloatArray:
        return np.maximum.accumulate(self.precision[::-1])[::-1]


def voc_curves(
    truth: TrueColumns, predicted: PredictedColumns, *, n_images: int, n_categories: int
) -> list[VocCurve | None]:
    """One curve a category; None for a category whose truth is empty or all difficult."""
    order = np.lexsort((-predicted.scores, predicted.categories))
    ignored = truth.crowd | truth.difficult
    best, iou = _best_match(truth, predicted, order, n_images)
    matched = iou >= MIN_IOU
    right = _first_claims(best, matched) & ~_at(ignored, best, matched)
    counted = ~_at(ignored, best, matched)
    n_true = np.bincount(truth.categories[~ignored], minlength=n_categories)
    edges = np.searchsorted(predicted.categories[order], np.arange(n_categories + 1))
    curves: list[VocCurve | None] = []
    for category, total in enumerate(n_true.tolist()):
        span = slice(edges[category], edges[category + 1])
        curves.append(_curve(right[span][counted[span]], total) if total else None)
    return curves


def voc_precision_recall(curves: list[VocCurve | None]) -> list[tuple[float, float, float]]:
    """Points (0.5, recall, precision averaged over categories with truth) at 101 recalls."""
    recalls = np.arange(RECALLS) / (RECALLS - 1)
    means = np.mean([curve.precision_at(recalls) for curve in curves if curve], axis=0)
    return [(MIN_IOU, *point) for point in zip(recalls.tolist(), means.tolist(), strict=True)]


def _curve(right: BoolArray, total: int) -> VocCurve:
    found = np.cumsum(right, dtype=np.float64)
    return VocCurve(found / total, found / np.arange(1, len(found) + 1))


def _at(flags: BoolArray, best: IntArray, matched: BoolArray) -> BoolArray:
    """The flag of each prediction's true box; False without one."""
    found = np.zeros(len(best), dtype=bool)
    found[matched] = flags[best[matched]]
    return found


def _first_claims(best: IntArray, matched: BoolArray) -> BoolArray:
    """Whether a prediction is the first, in the given order, to be matched to its true box."""
    claims = np.flatnonzero(matched)
    _, first = np.unique(best[claims], return_index=True)
    won = np.zeros(len(best), dtype=bool)
    won[claims[first]] = True
    return won


def _best_match(
    truth: TrueColumns, predicted: PredictedColumns, order: IntArray, n_images: int
) -> tuple[IntArray, FloatArray]:
    """For each prediction of ``order``: the true box it overlaps most and their IoU (0 without one)."""
    group = truth.categories * n_images + truth.images
    by_group = np.argsort(group, kind="stable")
    wanted = (predicted.categories * n_images + predicted.images)[order]
    begins = np.searchsorted(group[by_group], wanted, side="left")
    counts = np.searchsorted(group[by_group], wanted, side="right") - begins
    best, iou = np.zeros(len(order), dtype=np.int64), np.zeros(len(order))
    candidates = np.flatnonzero(counts)
    blocks = np.searchsorted(np.cumsum(counts[candidates]), _block_ends(int(counts.sum())), side="left")
    for rows in np.split(candidates, blocks):
        if not len(rows):
            continue
        pair_row = np.repeat(np.arange(len(rows)), counts[rows])
        starts = np.cumsum(counts[rows]) - counts[rows]
        pair_true = by_group[np.arange(len(pair_row)) - (starts - begins[rows])[pair_row]]
        overlap = _iou(predicted.boxes[order[rows]][pair_row], truth.boxes[pair_true])
        highest = np.maximum.reduceat(overlap, starts)
        hits = np.flatnonzero(overlap == highest[pair_row])
        _, first = np.unique(pair_row[hits], return_index=True)
        best[rows], iou[rows] = pair_true[hits[first]], highest
    return best, iou


def _block_ends(n_pairs: int) -> IntArray:
    return np.arange(BLOCK_PAIRS, n_pairs, BLOCK_PAIRS, dtype=np.int64)


def _iou(left: FloatArray, right: FloatArray) -> FloatArray:
    """IoU row by row of x, y, width, height boxes; 0 where either has no area."""
    low = np.maximum(left[:, :2], right[:, :2])
    high = np.minimum(left[:, :2] + left[:, 2:], right[:, :2] + right[:, 2:])
    shared = np.clip(high - low, 0.0, None).prod(axis=1)
    union = left[:, 2:].prod(axis=1) + right[:, 2:].prod(axis=1) - shared
    iou = np.zeros(len(shared))
    np.divide(shared, union, out=iou, where=union > 0)
    return iou
