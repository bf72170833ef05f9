"""`detection_map`: mean average precision of boxes, by the COCO standard or by PASCAL VOC's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from autoscorer.reading.source import Source
from autoscorer.schemas.result import Result
from autoscorer.schemas.scorer import Example
from autoscorer.scorers.base import BaseScorer
from autoscorer.scorers.box_tables import Points, box_tables
from autoscorer.scorers.per_label import MOST_KEYS
from autoscorer.scorers.registry import register
from autoscorer.scorers.tables import write_tables

if TYPE_CHECKING:  # numpy and hotcoco are not imported until a scorer computes
    from autoscorer.reading.coco import PredictedBoxes, Reference


class DetectionParams(BaseModel, extra="forbid"):
    """``style`` coco: AP averaged over IoU 0.50:0.05:0.95. ``style`` voc: AP at IoU 0.5, whole area."""

    style: Literal["coco", "voc"] = "coco"


@dataclass(frozen=True)
class Evaluation:
    """What a style computes: the headline first, columns over categories, points of the mean curve."""

    metrics: Mapping[str, float | None]
    per_category: Mapping[str, Sequence[float | None]]
    precision_recall: Points
    library: str


@register("detection_map")
class DetectionMap(BaseScorer):
    """`mAP`, its eleven companions (COCO only) and `AP_<category>` for categories with truth."""

    name = "detection_map"
    version = "1.0.0"
    task = "detection"
    primary_metric = "mAP"
    higher_is_better = True
    score_range = (0.0, 1.0)
    params_model = DetectionParams
    reference_files = ("gt.json",)
    prediction_files = ("pred.json",)
    example = Example(
        reference={
            "gt.json": """{"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 3, "name": "cat"}],
 "annotations": [{"image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 20]},
                 {"image_id": 2, "category_id": 3, "bbox": [30, 30, 40, 40]}]}
"""
        },
        predictions={
            "pred.json": """[{"image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 20], "score": 0.9},
 {"image_id": 2, "category_id": 3, "bbox": [80, 80, 10, 10], "score": 0.8}]
"""
        },
        # The first box is exact, the second box is missed: precision is 1 up to recall 0.5, then 0. COCO asks
        # at recall 0, 0.01, …, 1; the 51 answers up to 0.5 are 1.
        metrics={"mAP": 51 / 101, "AP_cat": 51 / 101, "mAR_100": 0.5},
    )

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        from autoscorer.reading.coco import read_predictions, read_reference

        style = DetectionParams.model_validate(params).style
        source = self.reference(workspace)
        reference = read_reference(source)
        predicted = read_predictions(self.predictions(workspace), reference)
        evaluation = {"coco": _by_coco, "voc": _by_voc}[style](reference, predicted)
        headline = evaluation.metrics["mAP"]
        if headline is None:
            raise _nothing_to_find(source)
        keyed = _keyed(reference.category_names, evaluation.per_category["AP"])
        numbers = {**evaluation.metrics, **keyed}
        boxes = reference.boxes
        tables = box_tables(
            reference,
            predicted,
            per_category=evaluation.per_category,
            precision_recall=evaluation.precision_recall,
            ignored=boxes.crowd | boxes.difficult if style == "voc" else boxes.crowd,
        )
        return Result(
            summary={"score": headline, "mAP": headline},
            metrics={name: value for name, value in numbers.items() if value is not None},
            artifacts=write_tables(self._write_artifact, workspace, tables),
            versioning=self._versioning(
                undefined=[name for name, value in numbers.items() if value is None],
                evaluation=evaluation.library,
            ),
        )


def _by_coco(reference: Reference, predicted: PredictedBoxes) -> Evaluation:
    import hotcoco

    from autoscorer.metrics import detection

    curves = detection.coco_curves(
        reference.boxes,
        predicted,
        n_images=reference.n_images,
        n_categories=len(reference.category_names),
    )
    metrics = detection.coco_metrics(curves)
    points = [] if metrics["mAP"] is None else detection.coco_precision_recall(curves)
    return Evaluation(
        metrics, detection.coco_per_category(curves), points, f"COCO, hotcoco {hotcoco.__version__}"
    )


def _by_voc(reference: Reference, predicted: PredictedBoxes) -> Evaluation:
    from autoscorer.metrics import detection_voc

    curves = detection_voc.voc_curves(
        reference.boxes,
        predicted,
        n_images=reference.n_images,
        n_categories=len(reference.category_names),
    )
    precisions = [curve.average_precision() if curve else None for curve in curves]
    defined = [value for value in precisions if value is not None]
    points = detection_voc.voc_precision_recall(curves) if defined else []
    headline = math.fsum(defined) / len(defined) if defined else None
    return Evaluation({"mAP": headline}, {"AP": precisions}, points, "PASCAL VOC, IoU 0.5, all points")


def _nothing_to_find(source: Source) -> Exception:
    return source.fault(
        "BAD_FORMAT",
        f"{source.name} holds no box that counts: all are marked iscrowd or difficult",
        {"expected": "at least one annotation without iscrowd (VOC: and without difficult)"},
    )


def _keyed(names: Sequence[str], values: Sequence[float | None]) -> dict[str, float | None]:
    """`AP_<category>`, unless more categories have truth than a result should list."""
    if sum(value is not None for value in values) > MOST_KEYS:
        return {}
    keyed = {f"AP_{name}": value for name, value in zip(names, values, strict=True)}
    if len(keyed) > MOST_KEYS:
        return {name: value for name, value in keyed.items() if value is not None}
    return keyed
