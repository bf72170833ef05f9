"""The tables of a detection: the numbers of each category, the mean curve, what was missed and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autoscorer.scorers.tables import Table

if TYPE_CHECKING:  # numpy is not imported until a scorer computes
    from autoscorer.metrics.detection import BoolArray, FloatArray
    from autoscorer.reading.coco import PredictedBoxes, Reference

MIN_IOU = 0.5
MOST_IMAGES = 100
MOST_MISSED_BOXES = 1_000
Points = Sequence[tuple[float, float, float]]


def box_tables(
    reference: Reference,
    predicted: PredictedBoxes,
    *,
    per_category: Mapping[str, Sequence[float | None]],
    precision_recall: Points,
    ignored: BoolArray,
) -> dict[str, Table]:
    """``per_category``, ``precision_recall``, ``worst_images``, ``missed_boxes``.

    A true box is missed if no predicted box of its image and category overlaps it with IoU 0.5 or more;
    ``ignored`` ones are not asked for. The first two tell of no single box, so a participant may have them.
    """
    from autoscorer.metrics.detection_pairs import best_overlaps

    overlaps = best_overlaps(reference.boxes, predicted, n_images=reference.n_images)
    missed = (overlaps < MIN_IOU) & ~ignored
    return {
        "per_category": _per_category(reference, predicted, per_category),
        "precision_recall": Table(
            header=["iou", "recall", "precision"],
            rows=precision_recall,
            rows_in_all=len(precision_recall),
            shows_truth=False,
        ),
        "worst_images": _worst_images(reference, predicted, missed, ignored),
        "missed_boxes": _missed_boxes(reference, overlaps, missed),
    }


def _per_category(
    reference: Reference, predicted: PredictedBoxes, columns: Mapping[str, Sequence[float | None]]
) -> Table:
    """Per category the boxes on both sides and its numbers; an empty field where there is none."""
    import numpy as np

    names = reference.category_names
    counts = [
        np.bincount(side.categories, minlength=len(names)).tolist() for side in (reference.boxes, predicted)
    ]
    return Table(
        header=["category", "true_boxes", "predicted_boxes", *columns],
        rows=zip(names, *counts, *columns.values(), strict=True),
        rows_in_all=len(names),
        shows_truth=False,
    )


def _worst_images(
    reference: Reference, predicted: PredictedBoxes, missed: BoolArray, ignored: BoolArray
) -> Table:
    """Images with missed boxes: most missed first, then the larger share, then in the order of the ids."""
    import numpy as np

    n = reference.n_images
    images = reference.boxes.images
    n_missed, n_true = (np.bincount(images[chosen], minlength=n) for chosen in (missed, ~ignored))
    n_predicted = np.bincount(predicted.images, minlength=n)
    order = np.lexsort((np.arange(n), n_true, -n_missed))
    worst = order[n_missed[order] > 0]
    shown = worst[:MOST_IMAGES]
    names = list(reference.known.images)
    columns = [counts[shown].tolist() for counts in (n_missed, n_true, n_predicted)]
    return Table(
        header=["image", "missed_boxes", "true_boxes", "predicted_boxes"],
        rows=zip([names[image] for image in shown.tolist()], *columns, strict=True),
        rows_in_all=len(worst),
    )


def _missed_boxes(reference: Reference, overlaps: FloatArray, missed: BoolArray) -> Table:
    """The largest first; of equal ones the first. ``best_iou`` tells nearly found from not at all."""
    import numpy as np

    boxes = reference.boxes
    positions = np.flatnonzero(missed)
    shown = positions[np.argsort(-boxes.areas[positions], kind="stable")][:MOST_MISSED_BOXES]
    names = list(reference.known.images)
    images = [names[image] for image in boxes.images[shown].tolist()]
    categories = [reference.category_names[code] for code in boxes.categories[shown].tolist()]
    return Table(
        header=["image", "category", "x", "y", "width", "height", "best_iou"],
        rows=zip(images, categories, *boxes.boxes[shown].T.tolist(), overlaps[shown].tolist(), strict=True),
        rows_in_all=len(positions),
    )
