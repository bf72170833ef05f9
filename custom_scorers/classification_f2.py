"""`classification_f2`: a scorer as an organiser writes it. Macro F-beta with beta 2: recall weighs more."""

# The class is the example of the design, word for word.
# ruff: noqa: E501, UP006, UP035
from collections import Counter
from pathlib import Path
from typing import Dict

from autoscorer.schemas.result import Result
from autoscorer.scorers.base import BaseCSVScorer
from autoscorer.scorers.registry import register


@register("classification_f2")
class ClassificationF2(BaseCSVScorer):
    name = "classification_f2"
    version = "1.0.0"
    def score(self, workspace: Path, params: Dict) -> Result:
        gt_data = self._load_ground_truth(workspace)
        pred_data = self._load_predictions(workspace)
        self._validate_data_consistency(gt_data, pred_data)
        f2_score = self._compute_f2(gt_data, pred_data)
        return Result(summary={"score": f2_score, "f2": f2_score},
                      metrics={"f2": f2_score, "samples": len(gt_data)},
                      versioning={"scorer": self.name, "version": self.version, "timestamp": self._get_iso_timestamp()})

    def _compute_f2(self, gt_data: Dict, pred_data: Dict) -> float:
        """The mean over labels of 5·right / (4·true + predicted)."""
        pairs = [(row["label"], pred_data[row_id]["label"]) for row_id, row in gt_data.items()]
        true = Counter(label for label, _ in pairs)
        predicted = Counter(label for _, label in pairs)
        right = Counter(label for label, other in pairs if label == other)
        labels = sorted(true.keys() | predicted.keys())
        return sum(5 * right[label] / (4 * true[label] + predicted[label]) for label in labels) / len(labels)
