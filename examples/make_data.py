"""Makes the data of the five examples from the real data sets that scikit-learn brings along.

    python examples/make_data.py            # writes input/ and reference/ of every example again

Nobody has to run this: what it writes is committed, and a test checks that it still writes the same.
Only Python's own generator is used for chance, so that the split does not depend on a numpy version.
"""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sklearn import datasets

Row = tuple[Sequence[Any], Any]  # features, truth
Pixels = list[list[float]]

# scikit-learn numbers the three kinds of wine; these are their names (Forina and others, 1986), in its order.
WINES = ("Barolo", "Grignolino", "Barbera")

SCENES = 36
SCENE_SIDE_PX = 112
DIGIT_SIDES_PX = (20, 44)
GAP_PX = 2
PAPER, INK, NOISE = 30, 200, 9
INK_EDGE = 0.25  # a scaled digit's pixel belongs to its box from this share of full ink on


def main(examples: Path) -> None:
    """Write input/ and reference/ of all five examples below ``examples``."""
    wine = datasets.load_wine()
    kinds = [WINES[index] for index in wine.target]
    write_table(
        examples / "classification",
        columns=[name.replace("/", "_") for name in wine.feature_names],
        rows=list(zip(wine.data.tolist(), kinds, strict=True)),
        test_rows=60,
        id_format="wine-{:03d}",
    )
    cancer = datasets.load_breast_cancer()
    write_table(
        examples / "classification-acc",
        columns=[name.replace(" ", "_") for name in cancer.feature_names],
        rows=list(zip(cancer.data.tolist(), cancer.target_names[cancer.target].tolist(), strict=True)),
        test_rows=200,
        id_format="patient-{:03d}",
    )
    diabetes = datasets.load_diabetes(scaled=False)
    write_table(
        examples / "regression",
        columns=diabetes.feature_names,
        rows=list(zip(diabetes.data.tolist(), diabetes.target.tolist(), strict=True)),
        test_rows=142,
        id_format="patient-{:03d}",
    )
    iris = datasets.load_iris()
    write_table(
        examples / "test",
        columns=[name.removesuffix(" (cm)").replace(" ", "_") + "_cm" for name in iris.feature_names],
        rows=unique_rows(list(zip(iris.data.tolist(), iris.target_names[iris.target].tolist(), strict=True))),
        test_rows=24,
        train_rows=36,
        id_format="{:03d}",  # ids are text: 001 is not 1
    )
    write_scenes(examples / "detection")


def unique_rows(rows: list[Row]) -> list[Row]:
    """Without repetitions (iris holds one flower twice), so that no test row stands in the training rows."""
    return list({tuple(features): (features, truth) for features, truth in rows}.values())


def write_table(
    example: Path,
    *,
    columns: Sequence[str],
    rows: list[Row],
    test_rows: int,
    id_format: str,
    train_rows: int | None = None,
) -> None:
    """Shuffle and split a table. The data sets come sorted by class; numbered afterwards, ids say nothing."""
    random.Random(2024).shuffle(rows)
    test, train = rows[:test_rows], rows[test_rows:][:train_rows]
    ids = [id_format.format(number) for number in range(1, test_rows + 1)]
    write_csv(example / "input/train.csv", [*columns, "label"], [[*x, y] for x, y in train])
    write_csv(
        example / "input/test.csv", ["id", *columns], [[i, *x] for i, (x, _) in zip(ids, test, strict=True)]
    )
    write_csv(
        example / "reference/gt.csv", ["id", "label"], [[i, y] for i, (_, y) in zip(ids, test, strict=True)]
    )


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([[short(value) for value in row] for row in rows])


def short(value: Any) -> Any:
    """A whole float without its ``.0``."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def write_scenes(example: Path) -> None:
    """Draw scenes of handwritten digits; the digits for training are other ones than those drawn."""
    digits = datasets.load_digits()
    samples: list[Row] = list(zip(digits.data.tolist(), digits.target.tolist(), strict=True))
    train, rest = samples[:600], samples[900:]
    pixel_columns = [f"p{row}{column}" for row in range(8) for column in range(8)]
    write_csv(example / "input/train.csv", [*pixel_columns, "label"], [[*x, y] for x, y in train])

    chance = random.Random(2024)
    images, annotations = [], []
    (example / "input/images").mkdir(parents=True, exist_ok=True)
    for image_id in range(1, SCENES + 1):
        file_name = f"scene_{image_id:02d}.pgm"
        scene, drawn = draw_scene(chance.sample(rest, chance.randint(3, 6)), chance)
        (example / "input/images" / file_name).write_bytes(as_pgm(scene, chance))
        images.append(
            {"id": image_id, "file_name": file_name, "width": SCENE_SIDE_PX, "height": SCENE_SIDE_PX}
        )
        for digit, box in drawn:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": digit + 1,
                    "bbox": list(box),
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": digit + 1, "name": str(digit)} for digit in range(10)]
    write_json(example / "input/images.json", {"images": images, "categories": categories})
    write_json(
        example / "reference/gt.json",
        {"images": images, "annotations": annotations, "categories": categories},
    )


def draw_scene(digits: list[Row], chance: random.Random) -> tuple[Pixels, list[tuple[int, tuple[int, ...]]]]:
    """Ink from 0 to 1 on a square canvas, and for each digit its class and box (x, y, width, height)."""
    scene = [[0.0] * SCENE_SIDE_PX for _ in range(SCENE_SIDE_PX)]
    drawn: list[tuple[int, tuple[int, ...]]] = []
    for pixels, label in digits:
        side = chance.randint(*DIGIT_SIDES_PX)
        glyph = enlarge(pixels, side)
        for _ in range(50):
            left, top = (chance.randint(0, SCENE_SIDE_PX - side) for _ in range(2))
            box = ink_box(glyph, left, top)
            if not any(overlap(box, other) for _, other in drawn):
                paste(scene, glyph, left, top)
                drawn.append((label, box))
                break
    return scene, drawn


def enlarge(pixels: Sequence[float], side: int) -> Pixels:
    """An 8 by 8 digit (0 to 16) as ``side`` by ``side`` ink (0 to 1), interpolated bilinearly."""

    def at(row: int, column: int) -> float:
        return pixels[min(row, 7) * 8 + min(column, 7)] / 16

    def ink(y: float, x: float) -> float:
        row, column = int(y), int(x)
        dy, dx = y - row, x - column
        upper = at(row, column) * (1 - dx) + at(row, column + 1) * dx
        lower = at(row + 1, column) * (1 - dx) + at(row + 1, column + 1) * dx
        return upper * (1 - dy) + lower * dy

    step = 7 / (side - 1)
    return [[ink(y * step, x * step) for x in range(side)] for y in range(side)]


def ink_box(glyph: Pixels, left: int, top: int) -> tuple[int, int, int, int]:
    """The smallest box round the glyph's ink when it stands at (left, top)."""
    rows = [y for y, row in enumerate(glyph) if max(row) >= INK_EDGE]
    columns = [x for x in range(len(glyph)) if max(row[x] for row in glyph) >= INK_EDGE]
    return left + columns[0], top + rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two boxes come closer than the gap."""
    return all(
        a[axis] < b[axis] + b[axis + 2] + GAP_PX and b[axis] < a[axis] + a[axis + 2] + GAP_PX
        for axis in (0, 1)
    )


def paste(scene: Pixels, glyph: Pixels, left: int, top: int) -> None:
    for y, row in enumerate(glyph):
        for x, ink in enumerate(row):
            scene[top + y][left + x] = max(scene[top + y][left + x], ink)


def as_pgm(scene: Pixels, chance: random.Random) -> bytes:
    """A binary grey map with noise: bright ink on dark paper."""
    grey = (round(PAPER + INK * ink + chance.gauss(0, NOISE)) for row in scene for ink in row)
    header = f"P5\n{SCENE_SIDE_PX} {SCENE_SIDE_PX}\n255\n".encode()
    return header + bytes(min(max(value, 0), 255) for value in grey)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
