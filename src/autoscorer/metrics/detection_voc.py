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
from autoscorer.metrics.detection_pairs import pairs_in_blocks

MIN_IOU = 0.5
RECALLS = 101


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
    best, iou = np.zeros(len(order), dtype=np.int64), np.zeros(len(order))
    for pairs in pairs_in_blocks(truth, predicted, order, n_images=n_images):
        highest = np.maximum.reduceat(pairs.iou, pairs.starts)
        hits = np.flatnonzero(pairs.iou == highest[pairs.of_row])
        _, first = np.unique(pairs.of_row[hits], return_index=True)
        best[pairs.rows], iou[pairs.rows] = pairs.true[hits[first]], highest
    return best, iou
