"""Random detection tasks as COCO documents, and what pycocotools says of them."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from autoscorer.reading.source import Role, Source

TWELVE = [
    *("mAP", "mAP_50", "mAP_75", "mAP_small", "mAP_medium", "mAP_large"),
    *("mAR_1", "mAR_10", "mAR_100", "mAR_small", "mAR_medium", "mAR_large"),
]

Document = dict[str, Any]
Results = list[dict[str, Any]]


def reference_source(path: Path = Path("gt.json")) -> Source:
    return Source(Role.REFERENCE, "reference/gt.json", path)


def prediction_source(path: Path = Path("pred.json")) -> Source:
    return Source(Role.PREDICTION, "output/pred.json", path)


def random_task(rng: Generator, *, ties: bool = True) -> tuple[Document, Results]:
    """A small task with crowds, empty images and categories, flat boxes, and with ``ties`` equal scores."""
    n_images, n_categories = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    image_ids = (rng.permutation(50)[:n_images] + 1).tolist()
    category_ids = (rng.permutation(20)[:n_categories] + 1).tolist()
    annotations: Results = []
    for number in range(int(rng.integers(1, 25))):
        annotation = random_box(rng, image_ids, category_ids) | {"id": number + 1}
        width, height = annotation["bbox"][2:]
        annotation["area"] = round(float(width * height * rng.uniform(0.5, 1.2)), 3)
        annotation["iscrowd"] = int(number > 0 and rng.random() < 0.2)
        annotations.append(annotation)
    results = [
        _near(rng, annotations) if rng.random() < 0.6 else random_box(rng, image_ids, category_ids)
        for _ in range(int(rng.choice([0, 1, 5, 30, 300], p=[0.05, 0.1, 0.25, 0.5, 0.1])))
    ]
    scores = rng.integers(0, 8, len(results)) / 7 if ties else rng.permutation(len(results)) / 1000
    for result, score in zip(results, scores.tolist(), strict=True):
        result["score"] = score
    document = {
        "images": [{"id": identifier} for identifier in image_ids],
        "categories": [{"id": identifier, "name": f"c{identifier}"} for identifier in category_ids],
        "annotations": annotations,
    }
    return document, results


def random_box(rng: Generator, image_ids: list[int], category_ids: list[int]) -> dict[str, Any]:
    """A box of any of COCO's three sizes; one in thirty has no width."""
    side = float(np.exp(rng.uniform(1, 6)))
    width, height = np.round(side * rng.uniform(0.5, 2, 2), int(rng.integers(0, 3)))
    if rng.random() < 1 / 30:
        width = 0.0
    x, y = np.round(rng.uniform(-20, 400, 2), int(rng.integers(0, 3)))
    return {
        "image_id": int(rng.choice(image_ids)),
        "category_id": int(rng.choice(category_ids)),
        "bbox": [float(x), float(y), float(width), float(height)],
    }


def _near(rng: Generator, annotations: Results) -> dict[str, Any]:
    """A prediction that is a true box, exactly or nearly."""
    true = annotations[int(rng.integers(len(annotations)))]
    x, y, width, height = true["bbox"]
    dx, dy = rng.choice([0.0, 0.02, 0.1, 0.25], 2) * (width, height)
    bbox = [float(x + dx), float(y + dy), width, float(height * rng.choice([1.0, 0.9, 1.25]))]
    return {"image_id": true["image_id"], "category_id": true["category_id"], "bbox": bbox}


def pycocotools_twelve(document: Document, results: Results) -> dict[str, float]:
    """The twelve numbers that pycocotools defines, by our names."""
    return {name: value for name, value in zip(TWELVE, _stats(document, results), strict=True) if value > -1}


def _stats(document: Document, results: Results) -> list[float]:
    reference, predicted = COCO(), COCO()
    reference.dataset = document
    # loadRes cannot take an empty list; these are the fields it would fill in.
    filled = [
        result | {"id": number, "area": result["bbox"][2] * result["bbox"][3], "iscrowd": 0}
        for number, result in enumerate(results, start=1)
    ]
    predicted.dataset = {
        "images": document["images"],
        "categories": document["categories"],
        "annotations": filled,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        reference.createIndex()
        predicted.createIndex()
        evaluation = COCOeval(reference, predicted, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats: list[float] = evaluation.stats.tolist()
    return stats
