"""`detection_map` from files to result: right numbers or a named fault, and always the same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoscorer.schemas.result import Result
from autoscorer.scorers.detection_map import DetectionMap
from autoscorer.scorers.invoke import check_params
from autoscorer.scorers.registry import get_scorer
from autoscorer.utils.errors import AutoscorerError, Blame
from tests.coco_cases import TWELVE, pycocotools_twelve, random_task
from tests.coco_mutations import spoil

MakeTask = Callable[..., Path]
BOX: dict[str, Any] = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10]}


@pytest.fixture
def make_task(tmp_path: Path) -> MakeTask:
    """Make a workspace from a reference and predictions, each given as bytes or as a value."""
    for folder in ("reference", "output"):
        (tmp_path / folder).mkdir()

    def make(reference: Any, predictions: Any) -> Path:
        for name, value in (("reference/gt.json", reference), ("output/pred.json", predictions)):
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            (tmp_path / name).write_bytes(content)
        return tmp_path

    return make


def score(workspace: Path, **params: Any) -> Result:
    return DetectionMap().score(workspace, params)


def artifact(workspace: Path, result: Result, name: str) -> list[list[str]]:
    content = (workspace / "output" / result.artifacts[name].path).read_text(encoding="utf-8")
    return list(csv.reader(io.StringIO(content)))


def test_a_task_gets_the_twelve_numbers_and_one_for_each_category(make_task: MakeTask) -> None:
    document, predictions = random_task(np.random.default_rng(12))
    result = score(make_task(document, predictions))
    expected = pycocotools_twelve(document, predictions)
    numbers = {name: result.metrics[name] for name in result.metrics if name in TWELVE}
    assert numbers == pytest.approx(expected, abs=1e-12)
    per_category = [value for name, value in result.metrics.items() if name.startswith("AP_c")]
    assert np.mean(per_category) == pytest.approx(result.metrics["mAP"])
    assert result.summary == {"score": result.metrics["mAP"], "mAP": result.metrics["mAP"]}


def test_what_the_data_does_not_define_is_left_out_and_named(make_task: MakeTask) -> None:
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    document = {"images": [{"id": 1}], "categories": categories, "annotations": [BOX]}
    result = score(make_task(document, [BOX | {"score": 1}]))
    undefined = ["AP_dog", "mAP_large", "mAP_medium", "mAR_large", "mAR_medium"]
    assert json.loads(result.versioning["undefined"]) == undefined
    assert not set(undefined) & set(result.metrics)
    assert result.metrics["AP_cat"] == pytest.approx(1.0)


def test_the_artifacts_say_where_the_score_comes_from(make_task: MakeTask) -> None:
    document, predictions = random_task(np.random.default_rng(12))
    workspace = make_task(document, predictions)
    result = score(workspace)
    header, *rows = artifact(workspace, result, "per_category")
    columns = ["category", "true_boxes", "predicted_boxes", "AP", "AP_50", "AP_75", "AR_100"]
    assert header == columns
    assert sum(int(row[1]) for row in rows) == len(document["annotations"])
    assert sum(int(row[2]) for row in rows) == len(predictions)
    averages = [float(row[3]) for row in rows if row[3]]
    assert np.mean(averages) == pytest.approx(result.metrics["mAP"])
    header, *points = artifact(workspace, result, "precision_recall")
    assert header == ["iou", "recall", "precision"]
    assert np.mean([float(point[2]) for point in points]) == pytest.approx(result.metrics["mAP"])


def test_shuffled_predictions_give_the_same_result_and_the_same_bytes(make_task: MakeTask) -> None:
    rng = np.random.default_rng(12)
    document, predictions = random_task(rng, ties=False)
    first = score(make_task(document, predictions))
    for _ in range(20):
        order = rng.permutation(len(predictions)).tolist()
        again = score(make_task(document, [predictions[position] for position in order]))
        assert (again.metrics, again.artifacts) == (first.metrics, first.artifacts)


def test_nothing_delivered_scores_zero(make_task: MakeTask) -> None:
    assert score(make_task([BOX], [])).summary == {"score": 0.0, "mAP": 0.0}


def test_the_voc_style_scores_at_one_threshold(make_task: MakeTask) -> None:
    """The IoU is 0.8: right for VOC; for COCO right at seven of ten thresholds, 0.50 … 0.80."""
    workspace = make_task([BOX], [BOX | {"bbox": [0, 0, 10, 8], "score": 1}])
    assert score(workspace, style="voc").metrics == {"mAP": 1.0, "AP_1": 1.0}
    assert score(workspace).metrics["mAP"] == pytest.approx(0.7)


def test_an_unknown_style_is_refused(make_task: MakeTask) -> None:
    with pytest.raises(AutoscorerError) as caught:
        check_params(DetectionMap(), {"style": "kitti"})
    assert caught.value.blame is Blame.ORGANISER
    assert "style" in caught.value.message


@pytest.mark.parametrize(("style", "mark"), [("coco", "iscrowd"), ("voc", "iscrowd"), ("voc", "difficult")])
def test_a_truth_in_which_no_box_counts_is_the_organisers_fault(
    make_task: MakeTask, style: str, mark: str
) -> None:
    workspace = make_task([BOX | {mark: 1}], [BOX | {"score": 1}])
    with pytest.raises(AutoscorerError) as caught:
        score(workspace, style=style)
    assert caught.value.code == "BAD_FORMAT"
    assert caught.value.blame is Blame.ORGANISER


@pytest.mark.slow
def test_over_a_thousand_categories_go_to_the_artifact_alone(make_task: MakeTask) -> None:
    truth = [BOX | {"category_id": number} for number in range(1001)]
    workspace = make_task(truth, [entry | {"score": 0.5} for entry in truth])
    result = score(workspace)
    assert not [name for name in result.metrics if name.startswith("AP_")]
    assert len(artifact(workspace, result, "per_category")) == 1002
    assert "AP_1000" in score(make_task(truth[1:], [])).metrics


def test_the_scorer_is_found_by_its_name_and_describes_itself() -> None:
    scorer = get_scorer("detection_map")
    assert isinstance(scorer, DetectionMap)
    assert (scorer.task, scorer.primary_metric) == ("detection", "mAP")


@pytest.mark.parametrize(
    ("name", "blame"), [("output/pred.json", Blame.PARTICIPANT), ("reference/gt.json", Blame.ORGANISER)]
)
def test_a_missing_file_is_named(make_task: MakeTask, name: str, blame: Blame) -> None:
    workspace = make_task([BOX], [])
    (workspace / name).unlink()
    with pytest.raises(AutoscorerError, match=name) as caught:
        score(workspace)
    assert (caught.value.code, caught.value.blame) == ("MISSING_FILE", blame)


@pytest.mark.slow
@pytest.mark.parametrize("fast_from_bytes", [0, 2**20], ids=["fast", "strict"])
@pytest.mark.parametrize("spoiled", ["reference", "predictions"])
def test_a_spoiled_file_is_a_named_fault_or_scores_as_pycocotools_says(
    make_task: MakeTask, spoiled: str, fast_from_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoscorer.reading.coco.FAST_READER_BYTES", fast_from_bytes)
    accepted = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        document, predictions = random_task(rng)
        predictions = predictions[:40]
        reference = spoil(rng, document) if spoiled == "reference" else json.dumps(document).encode()
        delivered = spoil(rng, predictions) if spoiled == "predictions" else json.dumps(predictions).encode()
        outcome = fault_or_result(make_task(reference, delivered))
        if isinstance(outcome, AutoscorerError):
            assert outcome.code in ("PARSE_ERROR", "BAD_FORMAT")
            assert outcome.blame is (Blame.ORGANISER if spoiled == "reference" else Blame.PARTICIPANT)
            # What it shows of the file can be written anywhere.
            json.dumps(outcome.to_dict(), ensure_ascii=False).encode()
            continue
        accepted += 1
        expected = pycocotools_twelve(*numbered(json.loads(reference), json.loads(delivered)))
        ours = {name: outcome.metrics[name] for name in outcome.metrics if name in TWELVE}
        assert ours == pytest.approx(expected, abs=1e-12)
    assert 60 < accepted < 240


def fault_or_result(workspace: Path) -> Result | AutoscorerError:
    try:
        return score(workspace)
    except AutoscorerError as fault:
        return fault


def numbered(reference: Any, predictions: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Both files with ids as small numbers in our order, and with the fields that pycocotools insists on."""
    images = _numbers(image["id"] for image in reference["images"])
    categories = _numbers(category["id"] for category in reference["categories"])
    names = {category.get("name"): categories[category["id"]] for category in reference["categories"]}
    found = names | categories

    def located(entry: dict[str, Any]) -> dict[str, Any]:
        key = next(key for key in ("category_id", "category", "label") if key in entry)
        where = {"image_id": images[entry["image_id"]], "category_id": found[entry[key]]}
        return {"bbox": entry["bbox"]} | where

    annotations = [
        located(entry)
        | {
            "id": number,
            "area": entry.get("area", entry["bbox"][2] * entry["bbox"][3]),
            "iscrowd": int(entry.get("iscrowd", 0)),
        }
        for number, entry in enumerate(reference["annotations"], start=1)
    ]
    document = {
        "images": [{"id": number} for number in images.values()],
        "categories": [{"id": number} for number in categories.values()],
        "annotations": annotations,
    }
    return document, [located(entry) | {"score": entry["score"]} for entry in predictions]


def _numbers(identifiers: Any) -> dict[Any, int]:
    texts = sorted(identifiers, key=lambda value: (isinstance(value, str), value))
    return {identifier: number for number, identifier in enumerate(texts, start=1)}
