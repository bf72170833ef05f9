"""Detection metrics by the COCO standard. Class: columns (all boxes at once), split by image.

Matching is hotcoco's, equal to pycocotools 2.0 to the last digit. Twelve numbers over categories that have
truth: average precision over IoU 0.50:0.05:0.95, at 0.50, at 0.75 and by area; average recall with at
most 1, 10 and 100 boxes an image and category, and by area. Small is below 32², large above 96² square
pixels. Boxes of a crowd are neither counted nor punished; boxes of equal score go in file order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

AREAS = ("all", "small", "medium", "large")
MOST_BOXES = (1, 10, 100)
# Positions of IoU 0.50 and 0.75 among the ten thresholds.
AT_50, AT_75 = 0, 5


class PredictedColumns(Protocol):
    """Predicted boxes: codes from 0, boxes (n, 4) as x, y, width, height, finite scores."""

    @property
    def images(self) -> IntArray: ...
    @property
    def categories(self) -> IntArray: ...
    @property
    def boxes(self) -> FloatArray: ...
    @property
    def scores(self) -> FloatArray: ...


class TrueColumns(Protocol):
    """True boxes: codes, boxes as predicted ones, areas in square pixels, crowd and difficult flags."""

    @property
    def images(self) -> IntArray: ...
    @property
    def categories(self) -> IntArray: ...
    @property
    def boxes(self) -> FloatArray: ...
    @property
    def areas(self) -> FloatArray: ...
    @property
    def crowd(self) -> BoolArray: ...
    @property
    def difficult(self) -> BoolArray: ...


@dataclass(frozen=True)
class CocoCurves:
    """What COCO's evaluation accumulates; −1 where a category has no truth of that area.

    ``precision`` is (10 IoU thresholds, 101 recalls, categories, areas, box limits); ``recall`` the same
    without recalls. ``categories`` are the codes of those that have truth, out of ``n_categories``. Read
    through the functions below, which turn −1 into None.
    """

    precision: FloatArray
    recall: FloatArray
    categories: IntArray
    n_categories: int


def coco_curves(
    truth: TrueColumns, predicted: PredictedColumns, *, n_images: int, n_categories: int
) -> CocoCurves:
    """Match and accumulate. Images and categories are 0 … n−1; those without boxes count as empty."""
    from hotcoco import COCO, COCOeval

    # A category without truth is -1 everywhere; 20,000 of them declared took 8 GB of dense arrays.
    with_truth = np.unique(truth.categories) if len(truth.categories) else np.arange(min(n_categories, 1))
    reference = COCO.from_arrays(
        [{"id": image} for image in range(n_images)],
        [{"id": int(category), "name": str(category)} for category in with_truth],
        truth.images,
        truth.categories,
        truth.boxes,
        area=truth.areas,
        iscrowd=truth.crowd,
    )
    columns = (predicted.images, predicted.boxes, predicted.scores, predicted.categories)
    kept = within_limit(predicted, n_images) & np.isin(predicted.categories, with_truth)
    results = reference.load_res(np.column_stack([column[kept] for column in columns]))
    evaluation = COCOeval(reference, results, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    curves = evaluation.eval
    assert curves is not None
    return CocoCurves(curves["precision"], curves["recall"], with_truth, n_categories)


def within_limit(predicted: PredictedColumns, n_images: int) -> BoolArray:
    """Which boxes are among the 100 best of their image and category: COCO looks at no others.

    hotcoco 1.3 compares all of them first: a million on one image against 1,000 true boxes took 8 GB.
    """
    limit, n = MOST_BOXES[-1], len(predicted.scores)
    group = predicted.categories * n_images + predicted.images
    in_order = np.sort(group)
    if not (in_order[limit:] == in_order[: max(n - limit, 0)]).any():
        return np.ones(n, dtype=bool)
    order = np.lexsort((-predicted.scores, group))
    rank = np.arange(n) - np.searchsorted(group[order], group[order], side="left")
    kept = np.zeros(n, dtype=bool)
    kept[order[rank < limit]] = True
    return kept


def coco_metrics(curves: CocoCurves) -> dict[str, float | None]:
    """The twelve numbers in COCO's order; None where no category has truth of that area."""
    by_area = {f"_{name}": (area, -1) for area, name in enumerate(AREAS) if area}
    by_limit = {f"_{limit}": (0, position) for position, limit in enumerate(MOST_BOXES)}
    precision, recall = curves.precision, curves.recall
    return {
        "mAP": _mean(precision[..., 0, -1]),
        "mAP_50": _mean(precision[AT_50, ..., 0, -1]),
        "mAP_75": _mean(precision[AT_75, ..., 0, -1]),
        **{f"mAP{name}": _mean(precision[..., area, limit]) for name, (area, limit) in by_area.items()},
        **{
            f"mAR{name}": _mean(recall[..., area, limit])
            for name, (area, limit) in (by_limit | by_area).items()
        },
    }


def coco_per_category(curves: CocoCurves) -> dict[str, list[float | None]]:
    """Per category: AP over all IoU thresholds, at 0.50 and at 0.75, and recall with at most 100 boxes."""
    precision, recall = curves.precision[..., 0, -1], curves.recall[..., 0, -1]
    columns = {"AP": precision, "AP_50": precision[AT_50], "AP_75": precision[AT_75], "AR_100": recall}
    found: dict[str, list[float | None]] = {}
    for name, values in columns.items():
        found[name] = [None] * curves.n_categories
        for position, category in enumerate(curves.categories):
            found[name][category] = _mean(values[..., position])
    return found


def coco_precision_recall(curves: CocoCurves) -> list[tuple[float, float, float]]:
    """Points (IoU threshold, recall, precision averaged over categories with truth), 10 × 101."""
    precision = curves.precision[..., 0, -1]
    with_truth = precision[..., (precision > -1).all(axis=(0, 1))]
    means = with_truth.mean(axis=-1)
    return [
        ((50 + 5 * iou) / 100, recall / 100, float(means[iou, recall]))
        for iou in range(means.shape[0])
        for recall in range(means.shape[1])
    ]


def _mean(values: FloatArray) -> float | None:
    """As pycocotools: the numpy mean of what is defined, in the array's order."""
    defined = values[values > -1]
    return float(np.mean(defined)) if defined.size else None
