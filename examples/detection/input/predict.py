"""Finds handwritten digits on noisy paper: connected ink, named by the most similar known digits."""

import csv
import json
import math
from collections import defaultdict
from pathlib import Path

INK_LEVEL = 80  # paper is about 30 with noise, full ink about 230
SMALLEST_INK_PX = 20
GRID = 8
NEIGHBOURS = 4


def read_pgm(path):
    """The rows of a binary grey map; the header is four words: P5, width, height, maximum."""
    content = Path(path).read_bytes()
    _, width, height, _ = content.split(maxsplit=4)[:4]
    width, height = int(width), int(height)
    pixels = content[-width * height :]
    return [pixels[row * width : (row + 1) * width] for row in range(height)]


def find_inked_parts(image):
    """The sets of (row, column) that hang together, also over a corner."""
    unseen = {(y, x) for y, row in enumerate(image) for x, grey in enumerate(row) if grey >= INK_LEVEL}
    while unseen:
        part, edge = set(), [unseen.pop()]
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & unseen
            unseen -= around
            edge.extend(around)
        if len(part) >= SMALLEST_INK_PX:
            yield part


def describe(image, left, top, width, height):
    """The box shrunk or stretched to GRID by GRID, darkest 0 to brightest 1, and how slender it is."""

    def at(i, j):
        y, x = top + (i + 0.5) * height / GRID - 0.5, left + (j + 0.5) * width / GRID - 0.5
        y, x = min(max(y, top), top + height - 1), min(max(x, left), left + width - 1)
        row, column = int(y), int(x)
        below, right = min(row + 1, top + height - 1), min(column + 1, left + width - 1)
        upper = image[row][column] + (x - column) * (image[row][right] - image[row][column])
        lower = image[below][column] + (x - column) * (image[below][right] - image[below][column])
        return upper + (y - row) * (lower - upper)

    values = [at(i, j) for i in range(GRID) for j in range(GRID)]
    low, high = min(values), max(values)
    return [(value - low) / ((high - low) or 1) for value in values] + [2 * width / height]


def box_round(points):
    """(left, top, width, height) of the smallest box that holds the points."""
    rows, columns = zip(*points, strict=True)
    return min(columns), min(rows), max(columns) - min(columns) + 1, max(rows) - min(rows) + 1


def read_known_digits(path):
    """(description, label) of every training digit, cut to its ink like the parts of a scene."""
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            label = row.pop("label")
            pixels = [int(value) for value in row.values()]
            image = [pixels[start : start + 8] for start in range(0, 64, 8)]
            inked = [(y, x) for y in range(8) for x in range(8) if image[y][x] >= 4]
            yield describe(image, *box_round(inked)), label


def classify(known, unknown):
    """The label with the most weight among the nearest, and how sure that is, from 0 to 1."""
    nearest = sorted((math.dist(description, unknown), label) for description, label in known)[:NEIGHBOURS]
    weights = defaultdict(float)
    for distance, label in nearest:
        weights[label] += 1 / (distance + 1e-9)
    label = max(weights, key=weights.get)
    return label, weights[label] / sum(weights.values()) / (1 + nearest[0][0])


def main():
    scenes = json.loads(Path("input/images.json").read_text(encoding="utf-8"))
    category_ids = {category["name"]: category["id"] for category in scenes["categories"]}
    known = list(read_known_digits("input/train.csv"))

    detections = []
    for scene in scenes["images"]:
        image = read_pgm(Path("input/images") / scene["file_name"])
        for part in find_inked_parts(image):
            box = box_round(part)
            label, confidence = classify(known, describe(image, *box))
            detections.append(
                {
                    "image_id": scene["id"],
                    "category_id": category_ids[label],
                    "bbox": list(box),
                    "score": round(confidence, 6),
                }
            )
    detections.sort(key=lambda entry: (entry["image_id"], entry["bbox"]))

    Path("output").mkdir(exist_ok=True)
    Path("output/pred.json").write_text(json.dumps(detections, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
