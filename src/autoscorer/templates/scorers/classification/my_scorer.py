"""`my_scorer`: the share of rows whose label is predicted right."""

from pathlib import Path
from typing import Any

from autoscorer import BaseScorer, Example, NoParams, Result, register


@register("my_scorer")
class MyScorer(BaseScorer):
    """Change the formula in `score`, then name, range and example to match. `pytest` says what is left."""

    name = "my_scorer"
    version = "1.0.0"
    task = "classification"
    primary_metric = "accuracy"
    higher_is_better = True
    score_range = (0.0, 1.0)  # lowest and highest score there can be; None for a side without a bound
    params_model = NoParams
    example = Example(
        reference={"gt.csv": "id,label\n1,cat\n2,cat\n3,dog\n4,fox\n"},
        predictions={"pred.csv": "id,label\n1,cat\n2,dog\n3,dog\n4,fox\n"},
        metrics={"accuracy": 3 / 4},  # worked out by hand
    )

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        # Reads reference/gt.csv and output/pred.csv, aligned by id; whatever is wrong in a file is refused
        # here. y_true and y_pred are numpy arrays of places in data.labels, one for each row of the truth.
        data = self.load_labels(workspace)
        accuracy = float((data.y_true == data.y_pred).mean())
        return self.make_result({"accuracy": accuracy})
