"""`regression_rmse`: root mean squared error, mean absolute error and R² of one number per id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoscorer.schemas.result import Result
from autoscorer.schemas.scorer import Example
from autoscorer.scorers.base import BaseScorer, NoParams
from autoscorer.scorers.registry import register
from autoscorer.scorers.tables import write_tables
from autoscorer.scorers.value_tables import value_tables


@register("regression_rmse")
class RegressionRmse(BaseScorer):
    """Lower is better; R² is left out where a constant truth (or one row) leaves it undefined."""

    name = "regression_rmse"
    version = "1.0.0"
    task = "regression"
    primary_metric = "rmse"
    higher_is_better = False
    score_range = (0.0, None)
    params_model = NoParams
    example = Example(
        reference={"gt.csv": "id,label\n1,1.0\n2,2.0\n3,4.0\n4,5.0\n"},
        predictions={"pred.csv": "id,label\n1,1.0\n2,4.0\n3,4.0\n4,5.0\n"},
        # one error of 2: √(4/4), 2/4; the truth deviates from its mean 3 by 2, 1, 1, 2: 1 − 4/10
        metrics={"rmse": 1.0, "mae": 0.5, "r2": 0.6},
    )

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        from autoscorer.reading.align import load_values

        reference, prediction = self.reference(workspace), self.predictions(workspace)
        aligned = load_values(reference, prediction)

        # Not before: load_values imports numpy while it waits for the files.
        from autoscorer.metrics.regression import regression_scores

        scores = regression_scores(aligned.y_true, aligned.y_pred)
        if scores.rmse is None:
            # It is at most the largest difference, so one side holds a number near the limit.
            source = reference if abs(aligned.y_true).max() > abs(aligned.y_pred).max() else prediction
            message = f"{source.name}: values so large that no 64-bit float holds the RMSE (over 1.8e308)"
            raise source.fault("BAD_FORMAT", message, {"expected": "numbers well below 1e308"})
        named = {"rmse": scores.rmse, "mae": scores.mae, "r2": scores.r2}
        return Result(
            summary={"score": scores.rmse, "rmse": scores.rmse},
            metrics={name: value for name, value in named.items() if value is not None},
            artifacts=write_tables(self._write_artifact, workspace, value_tables(aligned)),
            versioning=self._versioning(undefined=[name for name, value in named.items() if value is None]),
        )
