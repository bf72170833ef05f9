"""Nothing in input/ gives the truth away."""

from __future__ import annotations

import ast
import csv
import itertools
import json
import re
import shutil
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES, NAMES, TABLE_NAMES


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def leaked_ids(folder: Path, ids: set[str]) -> dict[str, list[str]]:
    """File to the test ids that stand in it as a word of their own, test.csv left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "test.csv":
            words = set(re.split(r"[^\w.-]+", path.read_bytes().decode("latin-1")))
            if words & ids:
                found[path.name] = sorted(words & ids)
    return found


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_test_ids_stand_in_no_other_input_file(name: str) -> None:
    ids = {row["id"] for row in read_table(EXAMPLES / name / "reference/gt.csv")}
    assert leaked_ids(EXAMPLES / name / "input", ids) == {}


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_control_the_truth_copied_into_input_is_noticed(name: str, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / name / "input", tmp_path / "input")
    shutil.copy(EXAMPLES / name / "reference/gt.csv", tmp_path / "input/notes.txt")
    ids = {row["id"] for row in read_table(EXAMPLES / name / "reference/gt.csv")}
    assert leaked_ids(tmp_path / "input", ids) == {"notes.txt": sorted(ids)}


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_the_test_rows_have_ids_and_features_and_no_label(name: str) -> None:
    train = read_table(EXAMPLES / name / "input/train.csv")
    test = read_table(EXAMPLES / name / "input/test.csv")
    truth = read_table(EXAMPLES / name / "reference/gt.csv")
    features = [column for column in train[0] if column != "label"]
    assert list(test[0]) == ["id", *features]
    assert list(truth[0]) == ["id", "label"]
    assert [row["id"] for row in test] == [row["id"] for row in truth]


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_no_test_row_is_a_training_row(name: str) -> None:
    train = read_table(EXAMPLES / name / "input/train.csv")
    test = read_table(EXAMPLES / name / "input/test.csv")
    known = {tuple(value for column, value in row.items() if column != "label") for row in train}
    assert not [row["id"] for row in test if tuple(row.values())[1:] in known]


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_the_order_of_the_ids_says_nothing_about_the_labels(name: str) -> None:
    labels = [row["label"] for row in read_table(EXAMPLES / name / "reference/gt.csv")]
    changes = sum(before != after for before, after in itertools.pairwise(labels))
    assert changes > len(labels) / 4  # sorted by class there would be one or two


def test_the_scenes_are_listed_without_their_boxes() -> None:
    listing = json.loads((EXAMPLES / "detection/input/images.json").read_bytes())
    truth = json.loads((EXAMPLES / "detection/reference/gt.json").read_bytes())
    assert set(listing) == {"images", "categories"}
    assert {key for image in listing["images"] for key in image} == {"id", "file_name", "width", "height"}
    assert listing["images"] == truth["images"]
    assert listing["categories"] == truth["categories"]
    suffixes = {path.suffix for path in (EXAMPLES / "detection/input").rglob("*") if path.is_file()}
    assert suffixes == {".py", ".csv", ".json", ".pgm"}


def test_the_reference_of_the_scenes_is_full_coco() -> None:
    truth = json.loads((EXAMPLES / "detection/reference/gt.json").read_bytes())
    sides = {image["id"]: (image["width"], image["height"]) for image in truth["images"]}
    for box in truth["annotations"]:
        x, y, width, height = box["bbox"]
        assert box["area"] == width * height > 0
        assert box["iscrowd"] == 0
        assert 0 <= x <= x + width <= sides[box["image_id"]][0]
        assert 0 <= y <= y + height <= sides[box["image_id"]][1]


@pytest.mark.parametrize("name", NAMES)
def test_a_program_names_no_path_outside_input_and_output(name: str) -> None:
    source = (EXAMPLES / name / "input/predict.py").read_text(encoding="utf-8")
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    paths = {
        text for text in texts if isinstance(text, str) and re.search(r"[/\\]|\.\.", text) and " " not in text
    }
    assert paths
    assert all(re.fullmatch(r"(input|output)/\w+(\.\w+)?", path) for path in paths)
    assert "reference" not in source
