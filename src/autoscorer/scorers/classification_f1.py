"""`classification_f1`: macro F1 over labels, and the F1 of each label of the reference."""

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


@register("classification_f1")
class ClassificationF1(BaseScorer):
    """The mean of the F1 of every label that the reference or the predictions use."""

    name = "classification_f1"
    version = "1.0.0"
    task = "classification"
    primary_metric = "f1_macro"
    higher_is_better = True
    score_range = (0.0, 1.0)
    params_model = NoParams
    example = Example(
        reference={"gt.csv": "id,label\n1,cat\n2,cat\n3,dog\n4,fox\n"},
        predictions={"pred.csv": "id,label\n1,cat\n2,dog\n3,dog\n4,fox\n"},
        # 2 · right / (true + predicted): cat 2/(2+1), dog 2/(1+2), fox 2/(1+1); their mean is 7/9
        metrics={"f1_macro": 7 / 9, "f1_cat": 2 / 3, "f1_dog": 2 / 3, "f1_fox": 1.0},
    )

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        from autoscorer.reading.align import load_labels

        aligned = load_labels(self.reference(workspace), self.predictions(workspace))

        # Not before: load_labels imports numpy while it waits for the files.
        from autoscorer.metrics.classification import fbeta_per_label, macro_mean
        from autoscorer.metrics.confusion import count_confusions

        counts, confusion = count_confusions(
            aligned.y_true, aligned.y_pred, len(aligned.labels), most_labels=MOST_LABELS
        )
        f1 = fbeta_per_label(counts)
        f1_macro = macro_mean(f1)
        labels = PerLabel(aligned.labels, counts, f1, prefix="f1_", taken=("f1_macro",))
        return Result(
            summary={"score": f1_macro, "f1_macro": f1_macro},
            metrics={"f1_macro": f1_macro, **labels.metrics()},
            artifacts=write_tables(self._write_artifact, workspace, label_tables(aligned, counts, confusion)),
            versioning=self._versioning() | labels.versioning(),
        )
