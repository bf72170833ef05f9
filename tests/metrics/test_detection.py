"""COCO's numbers are pycocotools' numbers; VOC's are those of a plain loop."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoscorer.metrics.detection import (
    CocoCurves,
    coco_curves,
    coco_metrics,
    coco_per_category,
    coco_precision_recall,
)
from autoscorer.metrics.detection_voc import VocCurve, voc_curves, voc_precision_recall
from autoscorer.reading.coco import (
    PredictedBoxes,
    Reference,
    read_predictions_strictly,
    read_reference_strictly,
)
from tests.coco_cases import (
    Document,
    Results,
    prediction_source,
    pycocotools_twelve,
    random_task,
    reference_source,
)
from tests.seeds import seeds

Task = tuple[Reference, PredictedBoxes]

# Prints the memory gained in MB, and how far mAP is from that of the 100 best boxes alone.
HEAP = """
import re, sys
import numpy as np
from autoscorer.metrics import detection
from autoscorer.reading.coco import PredictedBoxes, TrueBoxes

n, guarded, rng = int(sys.argv[1]), sys.argv[2] == "1", np.random.default_rng(1)

def peak_kb():
    # Not ru_maxrss: that begins with the size of the process that started this one.
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

def boxes(x):
    return np.column_stack([x, np.zeros((len(x), 1)), np.ones((len(x), 2))]).astype(float)

def mean_ap(kept):
    heap = PredictedBoxes(zeros[kept], zeros[kept], predicted[kept], scores[kept])
    return detection.coco_metrics(detection.coco_curves(truth, heap, n_images=1, n_categories=1))["mAP"]

few = np.zeros(1000, dtype=np.int64)
truth = TrueBoxes(few, few, boxes(np.arange(1000)), few + 1.0, few > 0, few > 0)
zeros, scores = np.zeros(n, dtype=np.int64), rng.permutation(n) / n
predicted = boxes(rng.integers(0, 1000, n))
alone = mean_ap(np.argsort(-scores)[:100])
before = peak_kb()
if not guarded:
    detection.within_limit = lambda predicted, _: np.ones(len(predicted.scores), dtype=bool)
heaped = mean_ap(slice(None))
gained = peak_kb() - before
print(gained / 1024, heaped - alone)
"""


def loaded(document: Document, results: Results) -> Task:
    reference = read_reference_strictly(json.dumps(document).encode(), reference_source())
    return reference, read_predictions_strictly(json.dumps(results).encode(), prediction_source(), reference)


def curves_of(task: Task) -> CocoCurves:
    reference, predicted = task
    return coco_curves(
        reference.boxes, predicted, n_images=reference.n_images, n_categories=len(reference.category_names)
    )


def defined(metrics: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if value is not None}


def voc_of(task: Task) -> list[VocCurve | None]:
    reference, predicted = task
    return voc_curves(
        reference.boxes, predicted, n_images=reference.n_images, n_categories=len(reference.category_names)
    )


@pytest.mark.parametrize("seed", seeds(300))
def test_the_twelve_numbers_are_those_of_pycocotools(seed: int) -> None:
    document, results = random_task(np.random.default_rng(seed))
    ours = defined(coco_metrics(curves_of(loaded(document, results))))
    assert ours == pytest.approx(pycocotools_twelve(document, results), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_only_the_best_hundred_of_an_image_and_category_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    document, results = random_task(rng)
    where = {"image_id": document["images"][0]["id"], "category_id": document["categories"][0]["id"]}
    document["annotations"] = [entry | where for entry in document["annotations"]]
    results = [entry | where | {"score": float(rng.integers(0, 50))} for entry in results * 40]
    ours = defined(coco_metrics(curves_of(loaded(document, results))))
    assert ours == pytest.approx(pycocotools_twelve(document, results), abs=1e-12)


@pytest.mark.parametrize("seed", seeds(60))
def test_the_order_of_predictions_changes_no_bit_when_scores_differ(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, predicted = loaded(*random_task(rng, ties=False))
    order = rng.permutation(len(predicted.scores))
    shuffled = PredictedBoxes(
        predicted.images[order],
        predicted.categories[order],
        predicted.boxes[order],
        predicted.scores[order],
    )
    first, second = curves_of((reference, predicted)), curves_of((reference, shuffled))
    assert first.precision.tobytes() == second.precision.tobytes()
    assert first.recall.tobytes() == second.recall.tobytes()
    assert _voc_aps((reference, predicted)) == _voc_aps((reference, shuffled))


def test_equal_scores_go_in_file_order() -> None:
    """One true box, a hit and a miss of equal score: right first gives AP 1, wrong first 1/2."""
    hit = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.5}
    miss = hit | {"bbox": [50, 50, 10, 10]}
    assert coco_metrics(curves_of(loaded(one_box(), [hit, miss])))["mAP"] == pytest.approx(1.0)
    assert coco_metrics(curves_of(loaded(one_box(), [miss, hit])))["mAP"] == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(20))
def test_the_truth_scores_best(seed: int) -> None:
    document, _ = random_task(np.random.default_rng(seed))
    # A flat box overlaps nothing, itself included.
    document["annotations"] = [entry for entry in document["annotations"] if entry["bbox"][2] > 0]
    document["annotations"][0]["iscrowd"] = 0
    perfect = [entry | {"score": 0.5} for entry in document["annotations"]]
    task = loaded(document, perfect)
    assert coco_metrics(curves_of(task))["mAP"] == pytest.approx(1.0)
    assert all(ap is None or ap == pytest.approx(1.0) for ap in _voc_aps(task))


def test_nothing_predicted_scores_zero() -> None:
    metrics = coco_metrics(curves_of(loaded(one_box(), [])))
    assert metrics["mAP"] == 0.0
    assert metrics["mAP_small"] == 0.0  # 10 × 10
    assert metrics["mAP_large"] is None
    assert _voc_aps(loaded(one_box(), [])) == [0.0]


def test_per_category_numbers_average_to_the_headline() -> None:
    document, results = random_task(np.random.default_rng(7))
    curves = curves_of(loaded(document, results))
    columns, metrics = coco_per_category(curves), coco_metrics(curves)
    pairs = (("AP", "mAP"), ("AP_50", "mAP_50"), ("AP_75", "mAP_75"), ("AR_100", "mAR_100"))
    for column, headline in pairs:
        values = [value for value in columns[column] if value is not None]
        assert np.mean(values) == pytest.approx(metrics[headline])
    points = coco_precision_recall(curves)
    assert len(points) == 10 * 101
    assert np.mean([precision for _, _, precision in points]) == pytest.approx(metrics["mAP"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "guarded", "peak_mb"), [(300_000, True, 250), (100_000, False, None)], ids=["guarded", "control"]
)
def test_boxes_heaped_on_one_image_are_cut_before_they_are_compared(
    n: int, guarded: bool, peak_mb: int | None
) -> None:
    """COCO looks at the best 100. Compared first, 300,000 boxes with 1,000 true ones are 2.4 GB."""
    run = subprocess.run(
        [sys.executable, "-c", HEAP, str(n), str(int(guarded))], capture_output=True, text=True, check=True
    )
    used_mb, difference = map(float, run.stdout.split())
    assert difference == 0
    assert used_mb < peak_mb if peak_mb else used_mb > 500


@pytest.mark.parametrize("seed", seeds(150))
def test_voc_is_what_a_plain_loop_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    document, results = random_task(rng)
    for annotation in document["annotations"]:
        annotation["difficult"] = int(rng.random() < 0.15)
    expected = [
        plain_voc(document, results, identifier)
        for identifier in sorted(category["id"] for category in document["categories"])
    ]
    for ours, theirs in zip(_voc_aps(loaded(document, results)), expected, strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or theirs is None or ours == pytest.approx(theirs, abs=1e-12)


def test_voc_compares_in_blocks_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    task = loaded(*random_task(np.random.default_rng(12)))
    assert len(task[1].scores) > 20
    whole = _voc_aps(task)
    monkeypatch.setattr("autoscorer.metrics.detection_pairs.BLOCK_PAIRS", 7)
    assert _voc_aps(task) == whole


def test_a_second_box_on_the_same_truth_is_wrong_in_voc() -> None:
    """Two true boxes, one found twice and then the other: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1."""
    truth = one_box()["annotations"] + [one_box()["annotations"][0] | {"id": 2, "bbox": [50, 50, 10, 10]}]
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 10, 10]]
    results = [
        {"image_id": 1, "category_id": 1, "bbox": bbox, "score": 0.9 - rank / 10}
        for rank, bbox in enumerate(boxes)
    ]
    task = loaded(one_box() | {"annotations": truth}, results)
    assert _voc_aps(task) == [pytest.approx(0.5 * 1 + 0.5 * 2 / 3)]
    points = voc_precision_recall(voc_of(task))
    assert points[50] == (0.5, 0.5, 1.0)
    assert points[100] == pytest.approx((0.5, 1.0, 2 / 3))


def test_an_iou_of_exactly_one_half_is_right_in_voc() -> None:
    half = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 5], "score": 0.9}
    assert _voc_aps(loaded(one_box(), [half])) == [1.0]
    assert _voc_aps(loaded(one_box(), [half | {"bbox": [0, 0, 10, 4.99]}])) == [0.0]


def test_a_difficult_box_counts_for_nothing_in_voc_and_as_any_other_in_coco() -> None:
    reference, predicted = loaded(
        one_box(), [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 1}]
    )
    boxes = replace(reference.boxes, difficult=np.array([True]))
    task = (replace(reference, boxes=boxes), predicted)
    assert _voc_aps(task) == [None]
    assert coco_metrics(curves_of(task))["mAP"] == pytest.approx(1.0)


def one_box() -> Document:
    box: dict[str, Any] = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10]}
    return {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [box | {"area": 100, "iscrowd": 0}],
    }


def _voc_aps(task: Task) -> list[float | None]:
    return [curve.average_precision() if curve else None for curve in voc_of(task)]


def plain_voc(document: Document, results: Results, category: int) -> float | None:
    """VOCevaldet.m, written down again one box at a time."""
    truth = [entry for entry in document["annotations"] if entry["category_id"] == category]
    skipped = [bool(entry["difficult"] or entry["iscrowd"]) for entry in truth]
    total = skipped.count(False)
    if total == 0:
        return None
    taken = [False] * len(truth)
    mine = [result for result in results if result["category_id"] == category]
    hits: list[bool] = []
    for result in sorted(mine, key=lambda entry: -entry["score"]):
        best, best_iou = -1, 0.0
        for position, entry in enumerate(truth):
            if entry["image_id"] == result["image_id"] and _iou(entry, result) > best_iou:
                best, best_iou = position, _iou(entry, result)
        if best_iou < 0.5:
            hits.append(False)
        elif not skipped[best]:
            hits.append(not taken[best])
            taken[best] = True
    area = 0.0
    for rank in range(len(hits)):
        if hits[rank]:
            later = [sum(hits[: cut + 1]) / (cut + 1) for cut in range(rank, len(hits))]
            area += max(later) / total
    return area


def _iou(left: dict[str, Any], right: dict[str, Any]) -> float:
    (ax, ay, aw, ah), (bx, by, bw, bh) = left["bbox"], right["bbox"]
    width = min(ax + aw, bx + bw) - max(ax, bx)
    height = min(ay + ah, by + bh) - max(ay, by)
    if width <= 0 or height <= 0:
        return 0.0
    return float(width * height / (aw * ah + bw * bh - width * height))
