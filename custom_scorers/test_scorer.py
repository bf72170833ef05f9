"""`test_scorer`: the smallest useful scorer, to try loading with. The share of rows whose label is right."""

from pathlib import Path
from typing import Any

from autoscorer import BaseCSVScorer, Example, Result, register


@register("test_scorer")
class TestScorer(BaseCSVScorer):
    """Accuracy, computed from plain dictionaries."""

    name = "test_scorer"
    version = "1.0.0"
    task = "classification"
    primary_metric = "accuracy"
    higher_is_better = True
    score_range = (0.0, 1.0)
    example = Example(
        reference={"gt.csv": "id,label\n1,cat\n2,cat\n3,dog\n4,fox\n"},
        predictions={"pred.csv": "id,label\n1,cat\n2,dog\n3,dog\n4,fox\n"},
        metrics={"accuracy": 3 / 4, "samples": 4},
    )

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        truth = self._load_ground_truth(workspace)
        predicted = self._load_predictions(workspace)
        self._validate_data_consistency(truth, predicted)
        right = sum(predicted[row_id]["label"] == row["label"] for row_id, row in truth.items())
        share = right / len(truth)
        return Result(
            summary={"score": share, "accuracy": share},
            metrics={"accuracy": share, "samples": len(truth)},
            versioning=self._versioning(),
        )
