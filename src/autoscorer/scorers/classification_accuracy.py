"""`classification_accuracy`: the share of rows predicted right, in all and for each true label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoscorer.schemas.result import Result
from autoscorer.schemas.scorer import Example
from autoscorer.scorers.base import BaseScorer, NoParams
from autoscorer.scorers.label_tables import MOST_LABELS, label_tables
from autoscorer.scorers.per_label import PerLabel
from autoscorer.scorers.registry import register
from autoscorer.scorers.tables import write_tables


@register("classification_accuracy", aliases=("classification_acc",))
class ClassificationAccuracy(BaseScorer):
    """Rows predicted right; ``accuracy_<label>`` counts the rows that truly have the label (its recall)."""

    name = "classification_accuracy"
    version = "1.0.0"
    task = "classification"
    primary_metric = "accuracy"
    higher_is_better = True
    score_range = (0.0, 1.0)
    params_model = NoParams
    example = Example(
        reference={"gt.csv": "id,label\n1,cat\n2,cat\n3,dog\n4,fox\n"},
        predictions={"pred.csv": "id,label\n1,cat\n2,dog\n3,dog\n4,fox\n"},
        # 3 of 4 rows are right, 1 of 2 cats
        metrics={"accuracy": 0.75, "accuracy_cat": 0.5, "accuracy_dog": 1.0, "accuracy_fox": 1.0},
    )

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        from autoscorer.reading.align import load_labels

        aligned = load_labels(self.reference(workspace), self.predictions(workspace))

        # Not before: load_labels imports numpy while it waits for the files.
        from autoscorer.metrics.classification import accuracy, recall_per_label
        from autoscorer.metrics.confusion import count_confusions

        counts, confusion = count_confusions(
            aligned.y_true, aligned.y_pred, len(aligned.labels), most_labels=MOST_LABELS
        )
        share = accuracy(counts)
        labels = PerLabel(aligned.labels, counts, recall_per_label(counts), prefix="accuracy_")
        return Result(
            summary={"score": share, "accuracy": share},
            metrics={"accuracy": share, **labels.metrics()},
            artifacts=write_tables(self._write_artifact, workspace, label_tables(aligned, counts, confusion)),
            versioning=self._versioning() | labels.versioning(),
        )
