"""`my_scorer`: the mean absolute error of one number per row."""

from pathlib import Path
from typing import Any

from autoscorer import BaseScorer, Example, NoParams, Result, register


@register("my_scorer")
class MyScorer(BaseScorer):
    """Change the formula in `score`, then name, range and example to match. `pytest` says what is left."""

    name = "my_scorer"
    version = "1.0.0"
    task = "regression"
    primary_metric = "mae"
    higher_is_better = False
    score_range = (0.0, None)  # lowest and highest score there can be; None for a side without a bound
    params_model = NoParams
    example = Example(
        reference={"gt.csv": "id,value\n1,1.0\n2,2.0\n3,4.0\n4,5.0\n"},
        predictions={"pred.csv": "id,value\n1,1.0\n2,4.0\n3,4.0\n4,4.0\n"},
        metrics={"mae": (0 + 2 + 0 + 1) / 4},  # worked out by hand
    )

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        # Reads reference/gt.csv and output/pred.csv, aligned by id; whatever is wrong in a file is refused
        # here. y_true and y_pred are numpy arrays of finite numbers, one for each row of the truth.
        data = self.load_values(workspace)
        mae = float(abs(data.y_true - data.y_pred).mean())
        return self.make_result({"mae": mae})
