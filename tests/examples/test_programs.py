"""The examples' programs really predict, and score what their README says."""

from __future__ import annotations

import ast
import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from sklearn import metrics

from autoscorer.schemas.job import JobSpec
from tests.examples.conftest import EXAMPLES, NAMES, RunProgram

pytestmark = pytest.mark.slow  # programs that are run


def column(path: Path, name: str = "label") -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row[name] for row in csv.DictReader(file)}


def coco_map(reference: Path, predictions: Path) -> float:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(reference))
    evaluation = COCOeval(truth, truth.loadRes(str(predictions)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0])


def independent_score(name: str, metric: str, output: Path) -> float:
    """The headline by scikit-learn or pycocotools, without any code of ours."""
    reference = EXAMPLES / name / "reference"
    if metric == "mAP":
        return coco_map(reference / "gt.json", output / "pred.json")
    truth, predicted = column(reference / "gt.csv"), column(output / "pred.csv")
    y_true, y_pred = list(truth.values()), [predicted[key] for key in truth]
    if metric == "rmse":
        return float(metrics.root_mean_squared_error(list(map(float, y_true)), list(map(float, y_pred))))
    if metric == "accuracy":
        return float(metrics.accuracy_score(y_true, y_pred))
    return float(metrics.f1_score(y_true, y_pred, average="macro"))


def promised(readme: str) -> dict[str, tuple[str, str, str]]:
    """Example to (scorer, metric, value) as the README's table has it."""
    rows = re.findall(
        r"^\| `([^`]+)` \| `(\w+)` \| `(\w+)` \| ([\d.]+) \|",
        (EXAMPLES / readme).read_text(encoding="utf-8"),
        re.M,
    )
    return {name: (scorer, metric, value) for name, scorer, metric, value in rows}


def load_spec(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EXAMPLES / name / "meta.json").read_bytes())
    return loaded


def test_the_five_examples_are_there() -> None:
    assert set(NAMES) == {"classification", "classification-acc", "regression", "detection", "test"}


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_both_readmes_promise_the_same_for_every_example(readme: str) -> None:
    assert sorted(promised(readme)) == NAMES
    assert promised(readme) == promised("README.md")


@pytest.mark.parametrize("name", NAMES)
def test_a_program_scores_what_the_readme_promises(name: str, run_program: RunProgram) -> None:
    scorer, metric, value = promised("README.md")[name]
    assert scorer == load_spec(name)["scorer"]
    assert f"{independent_score(name, metric, run_program(name)):.4f}" == value


@pytest.mark.parametrize("name", [name for name in NAMES if name != "regression"])
def test_a_score_is_good_but_not_perfect(name: str) -> None:
    assert 0.3 < float(promised("README.md")[name][2]) < 0.98


def test_the_regression_beats_the_mean_and_is_not_perfect(run_program: RunProgram) -> None:
    truth = column(EXAMPLES / "regression/reference/gt.csv")
    predicted = column(run_program("regression") / "pred.csv")
    r2 = metrics.r2_score([float(truth[key]) for key in truth], [float(predicted[key]) for key in truth])
    assert 0.3 < r2 < 0.9


def test_detections_have_distinct_scores_because_coco_breaks_ties_by_file_order(
    run_program: RunProgram,
) -> None:
    detections = json.loads((run_program("detection") / "pred.json").read_bytes())
    assert len({entry["score"] for entry in detections}) == len(detections)


def test_the_delivered_predictions_of_test_are_what_its_program_writes(run_program: RunProgram) -> None:
    delivered = (EXAMPLES / "test/output/pred.csv").read_bytes()
    assert (run_program("test") / "pred.csv").read_bytes() == delivered


@pytest.mark.parametrize("name", NAMES)
def test_a_program_is_python_3_10_and_imports_the_standard_library_only(name: str) -> None:
    source = (EXAMPLES / name / "input/predict.py").read_text(encoding="utf-8")
    imported: set[str] = set()
    for node in ast.walk(ast.parse(source, feature_version=(3, 10))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or ".").split(".")[0])
    assert imported <= sys.stdlib_module_names
    assert "tomllib" not in imported  # new in 3.11


@pytest.mark.parametrize("name", NAMES)
def test_a_meta_json_is_a_job_specification_with_modest_limits(name: str) -> None:
    spec = JobSpec.parse((EXAMPLES / name / "meta.json").read_bytes())
    assert spec.job_id == f"example-{name}"
    assert spec.time_limit == 60
    assert (spec.resources.cpu, spec.resources.memory, spec.resources.gpus) == (1, "512Mi", 0)
    assert spec.container is not None
    assert spec.container.image == "python:3.10-slim"
    assert spec.container.cmd == ["python", "input/predict.py"]


def test_job_ids_are_unique() -> None:
    assert len({load_spec(name)["job_id"] for name in NAMES}) == len(NAMES)
