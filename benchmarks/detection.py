"""COCO mAP over 5,000 images and 500,000 predicted boxes, against hotcoco alone and pycocotools."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.harness import Row, cached, compare

IMAGES, CATEGORIES, TRUE_BOXES, PREDICTED_BOXES = 5_000, 80, 36_000, 500_000
WIDTH, HEIGHT = 640, 480
AUTOSCORER = str(Path(sys.executable).with_name("autoscorer"))

LIBRARY = """
import json, sys
from {library} import {modules}
reference = COCO(sys.argv[1])
evaluation = COCOeval(reference, reference.loadRes(sys.argv[2]), "bbox")
evaluation.evaluate()
evaluation.accumulate()
evaluation.summarize()
json.dump(list(map(float, evaluation.stats)), open(sys.argv[3], "w"))
"""
HOTCOCO = LIBRARY.format(library="hotcoco", modules="COCO, COCOeval")
PYCOCOTOOLS = LIBRARY.format(
    library="pycocotools.coco", modules="COCO\nfrom pycocotools.cocoeval import COCOeval"
)


def rows() -> list[Row]:
    """Whole processes; ours with strict checks, hashes, artifacts and `result.json`."""
    folder = cached("detection", generate)
    files = [str(folder / "gt.json"), str(folder / "pred.json")]
    ours = [AUTOSCORER, "score", "--reference", files[0], "--predictions", files[1]]
    ours += ["--scorer", "detection_map", "--output", str(folder / "out"), "--json"]
    work = f"COCO mAP, {IMAGES:,} images, {PREDICTED_BOXES:,} boxes"
    stats = folder / "stats.json"
    hotcoco = compare(ours, [sys.executable, "-c", HOTCOCO, *files, str(stats)])
    # One pair: pycocotools takes two minutes.
    pycocotools = compare(ours, [sys.executable, "-c", PYCOCOTOOLS, *files, str(stats)], pairs=1)
    difference = largest_difference(folder / "out" / "result.json", stats)
    note = f"the twelve numbers differ by at most {difference:.0e}"
    return [
        Row(work=work, against="hotcoco's own load and evaluation", comparison=hotcoco, aim=1.5),
        Row(work=work, against="pycocotools", comparison=pycocotools, aim=1 / 40, note=note),
    ]


def largest_difference(result: Path, stats: Path) -> float:
    """Between our twelve numbers and a library's; both in COCO's order."""
    metrics = json.loads(result.read_text(encoding="utf-8"))["metrics"]
    ours: list[float] = [value for name, value in metrics.items() if name.startswith("mA")]
    theirs: list[float] = json.loads(stats.read_text(encoding="utf-8"))
    return max(abs(mine - other) for mine, other in zip(ours, theirs, strict=True))


def generate(folder: Path) -> None:
    """A COCO reference, and predictions with a detector's 32-bit numbers as Python writes them."""
    rng = np.random.default_rng(2017)
    images = rng.integers(1, IMAGES + 1, TRUE_BOXES)
    categories = rng.integers(1, CATEGORIES + 1, TRUE_BOXES)
    boxes = random_boxes(rng, TRUE_BOXES).round(2)
    crowd = rng.random(TRUE_BOXES) < 0.01
    annotations = [
        {
            "id": number + 1,
            "image_id": int(images[number]),
            "category_id": int(categories[number]),
            "bbox": boxes[number].tolist(),
            "area": round(float(boxes[number, 2] * boxes[number, 3]) * 0.7, 4),
            "iscrowd": int(crowd[number]),
        }
        for number in range(TRUE_BOXES)
    ]
    document = {
        "images": [
            {"id": k + 1, "file_name": f"{k + 1:012d}.jpg", "width": WIDTH, "height": HEIGHT}
            for k in range(IMAGES)
        ],
        "categories": [{"id": k + 1, "name": f"category {k + 1}"} for k in range(CATEGORIES)],
        "annotations": annotations,
    }
    (folder / "gt.json").write_text(json.dumps(document), encoding="utf-8")
    predictions = predict(rng, images, categories, boxes)
    (folder / "pred.json").write_text(json.dumps(predictions), encoding="utf-8")
    (folder / "out").mkdir()


def predict(
    rng: Generator, images: NDArray[np.int64], categories: NDArray[np.int64], boxes: NDArray[np.float64]
) -> list[dict[str, object]]:
    """Two in five boxes lie near a true one and score higher; the rest lie anywhere."""
    near = rng.random(PREDICTED_BOXES) < 0.4
    source = rng.integers(0, TRUE_BOXES, PREDICTED_BOXES)
    moved = boxes[source] + rng.normal(0, 6, (PREDICTED_BOXES, 4))
    moved[:, 2:] = np.maximum(moved[:, 2:], 1)
    placed = np.where(near[:, None], moved, random_boxes(rng, PREDICTED_BOXES)).astype(np.float32)
    image = np.where(near, images[source], rng.integers(1, IMAGES + 1, PREDICTED_BOXES))
    category = np.where(near, categories[source], rng.integers(1, CATEGORIES + 1, PREDICTED_BOXES))
    scores = (rng.random(PREDICTED_BOXES) ** np.where(near, 1, 3)).astype(np.float32)
    columns = image.tolist(), category.tolist(), placed.astype(float).tolist(), scores.astype(float).tolist()
    keys = ("image_id", "category_id", "bbox", "score")
    return [dict(zip(keys, values, strict=True)) for values in zip(*columns, strict=True)]


def random_boxes(rng: Generator, n: int) -> NDArray[np.float64]:
    """Boxes of 8 to 300 pixels a side, evenly over the logarithm, inside the image where they fit."""
    sizes = np.exp(rng.uniform(np.log(8), np.log(300), (n, 2)))
    corners = rng.uniform(0, 1, (n, 2)) * np.maximum(np.array([WIDTH, HEIGHT]) - sizes, 1)
    return np.hstack([corners, sizes])
