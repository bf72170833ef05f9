"""`my_scorer`: the share of true boxes that a predicted box of the same category overlaps."""

from pathlib import Path
from typing import Any

from autoscorer import BaseScorer, Example, Result, register
from pydantic import BaseModel, Field


class MyParams(BaseModel, extra="forbid"):
    """``iou``: how much two boxes must overlap, as intersection over union."""

    iou: float = Field(default=0.5, gt=0, le=1)


@register("my_scorer")
class MyScorer(BaseScorer):
    """Change the formula in `score`, then name, range and example to match. `pytest` says what is left."""

    name = "my_scorer"
    version = "1.0.0"
    task = "detection"
    primary_metric = "recall"
    higher_is_better = True
    score_range = (0.0, 1.0)  # lowest and highest score there can be; None for a side without a bound
    params_model = MyParams
    reference_files = ("gt.json",)
    prediction_files = ("pred.json",)
    example = Example(
        reference={
            "gt.json": """[{"image_id": 1, "category": "cat", "bbox": [10, 10, 20, 20]},
                           {"image_id": 2, "category": "cat", "bbox": [30, 30, 40, 40]}]"""
        },
        predictions={
            "pred.json": """[{"image_id": 1, "category": "cat", "bbox": [10, 10, 20, 15], "score": 0.9},
                             {"image_id": 2, "category": "cat", "bbox": [80, 80, 10, 10], "score": 0.8}]"""
        },
        metrics={"recall": 1 / 2},  # the first overlaps by 300 of 400 square pixels, the second not at all
    )

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        # Reads reference/gt.json and output/pred.json; whatever is wrong in a file is refused here. Both have
        # numpy arrays with one entry for each box: images, categories, boxes (x, y, width, height).
        reference, predicted = self.load_boxes(workspace)
        truth = reference.boxes
        counted = (~truth.crowd).nonzero()[0]
        if not len(counted):
            raise self.reference(workspace).fault("BAD_FORMAT", "every true box is marked iscrowd")
        found = 0
        for place in counted:
            same_image = predicted.images == truth.images[place]
            rivals = predicted.boxes[same_image & (predicted.categories == truth.categories[place])]
            found += any(overlap(truth.boxes[place], box) >= params["iou"] for box in rivals)
        return self.make_result({"recall": found / len(counted)})


def overlap(one: Any, other: Any) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return float(shared / (one[2] * one[3] + other[2] * other[3] - shared))
