"""The tables behind a score: what they hold, how large they get, which of them show the truth."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from autoscorer.reading import align
from autoscorer.schemas.result import Result
from autoscorer.scorers import tables
from autoscorer.scorers.registry import get_scorer
from autoscorer.scorers.tables import Table, csv_content
from tests.scorers.tables import table, workspace

Rows = list[list[str]]


def scored(root: Path, scorer: str) -> tuple[Result, dict[str, Rows]]:
    """The result, and the rows of its artifacts."""
    result = get_scorer(scorer).score(root, {})
    texts = {
        name: (root / "output" / artifact.path).read_text() for name, artifact in result.artifacts.items()
    }
    return result, {name: list(csv.reader(io.StringIO(text))) for name, text in texts.items()}


@pytest.fixture(params=["strict", "fast"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(align, "FAST_READER_BYTES", 0 if request.param == "fast" else 2**40)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("scorer", ["classification_f1", "classification_accuracy"])
def test_a_classification_shows_who_was_taken_for_whom(scorer: str, tmp_path: Path) -> None:
    truth = table([("a1", "cat"), ("a2", "cat"), ("a3", "dog"), ("a4", "dog")])
    predicted = table([("a4", "dog"), ("a3", "fox"), ("a2", "dog"), ("a1", "cat")])
    _, found = scored(workspace(tmp_path, truth, predicted), scorer)
    assert found["confusion_matrix"] == [
        ["truth \\ predicted", "cat", "dog", "fox"],
        ["cat", "1", "1", "0"],
        ["dog", "0", "1", "1"],
        ["fox", "0", "0", "0"],
    ]
    assert found["worst_cases"] == [["id", "truth", "predicted"], ["a2", "cat", "dog"], ["a3", "dog", "fox"]]
    # cat: right 1, true 2, predicted 1; dog: right 1, true 2, predicted 2
    assert found["per_label"] == [
        ["label", "f1", "precision", "recall", "support"],
        ["cat", str(2 / 3), "1.0", "0.5", "2"],
        ["dog", "0.5", "0.5", "0.5", "2"],
    ]


@pytest.mark.usefixtures("reader")
def test_a_regression_shows_its_worst_rows_first(tmp_path: Path) -> None:
    truth = table([("007", 1.0), ("8", 2.0), ("9", 3.0), ("10", 4.0)])
    predicted = table([("10", 4.0), ("9", 2.5), ("8", 2.5), ("007", 3.0)])
    result, found = scored(workspace(tmp_path, truth, predicted), "regression_rmse")
    assert found["worst_cases"] == [
        ["id", "truth", "predicted", "error"],
        ["007", "1.0", "3.0", "2.0"],
        ["8", "2.0", "2.5", "0.5"],
        ["9", "3.0", "2.5", "-0.5"],
    ]
    quantiles = {float(share): float(error) for share, error in found["residuals"][1:]}
    assert (quantiles[0.0], quantiles[0.5], quantiles[1.0]) == (-0.5, 0.0, 2.0)
    assert found["predicted_vs_true"][1:] == [["1.0", "3.0"], ["2.0", "2.5"], ["3.0", "2.5"], ["4.0", "4.0"]]
    assert result.artifacts["worst_cases"].rows_in_all is None


def test_a_detection_shows_what_it_missed(tmp_path: Path) -> None:
    boxes = [
        {"image_id": 1, "category_id": "cat", "bbox": [0, 0, 10, 10]},
        {"image_id": 1, "category_id": "dog", "bbox": [50, 50, 20, 20]},
        {"image_id": 2, "category_id": "dog", "bbox": [0, 0, 10, 10]},
        {"image_id": 2, "category_id": "dog", "bbox": [90, 0, 30, 30], "iscrowd": 1},
    ]
    # The cat is there; the dog of image 1 is called a cat; that of image 2 is met with IoU 40/160 = 1/4.
    predictions = [
        {"image_id": 1, "category_id": "cat", "bbox": [0, 0, 10, 10], "score": 0.9},
        {"image_id": 1, "category_id": "cat", "bbox": [50, 50, 20, 20], "score": 0.8},
        {"image_id": 2, "category_id": "dog", "bbox": [6, 0, 10, 10], "score": 0.7},
    ]
    for name, value in (("reference/gt.json", boxes), ("output/pred.json", predictions)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(json.dumps(value))
    _, found = scored(tmp_path, "detection_map")
    assert found["worst_images"] == [
        ["image", "missed_boxes", "true_boxes", "predicted_boxes"],
        ["2", "1", "1", "1"],
        ["1", "1", "2", "2"],
    ]
    header = ["image", "category", "x", "y", "width", "height", "best_iou"]
    assert found["missed_boxes"] == [
        header,
        ["1", "dog", "50.0", "50.0", "20.0", "20.0", "0.0"],
        ["2", "dog", "0.0", "0.0", "10.0", "10.0", "0.25"],
    ]


# Who has the predictions reads from none of these what is true of a single row.
MAY_BE_SHOWN = {"per_label", "per_category", "precision_recall"}


@pytest.mark.parametrize("scorer", ["classification_f1", "classification_accuracy", "regression_rmse"])
def test_every_table_shows_the_truth_but_those_of_whole_labels(scorer: str, tmp_path: Path) -> None:
    content = table(enumerate([1, 2, 3]))
    result, _ = scored(workspace(tmp_path, content, content), scorer)
    hidden = {name for name, artifact in result.artifacts.items() if artifact.shows_truth}
    assert set(result.artifacts) - hidden == set(result.artifacts) & MAY_BE_SHOWN
    assert hidden


def test_one_label_of_its_own_for_each_row_reads_the_truth_off_a_confusion_matrix(tmp_path: Path) -> None:
    """Why a table that only counts is marked as showing the truth."""
    labels = ["cat", "dog", "dog", "cat"]
    probe = table((row, f"row {row}") for row in range(len(labels)))
    _, found = scored(workspace(tmp_path, table(enumerate(labels)), probe), "classification_f1")
    header, *rows = found["confusion_matrix"]
    columns = {name: [row[0] for row in rows if row[at] == "1"] for at, name in enumerate(header) if at}
    assert [columns[f"row {row}"] for row in range(len(labels))] == [[label] for label in labels]


def test_many_labels_and_many_wrong_rows_stay_within_bounds_and_it_is_said(tmp_path: Path) -> None:
    n_labels, n_rows = 400, 4_000
    truth = table((row, f"label {row % n_labels:03}") for row in range(n_rows))
    predicted = table((row, f"label {(row + 1) % n_labels:03}") for row in range(n_rows))
    result, found = scored(workspace(tmp_path, truth, predicted), "classification_f1")
    assert len(found["confusion_matrix"]) == len(found["confusion_matrix"][0]) == 52
    assert found["confusion_matrix"][-1][0] == "(350 others)"
    assert sum(int(cell) for row in found["confusion_matrix"][1:] for cell in row[1:]) == n_rows
    assert len(found["worst_cases"]) - 1 == result.artifacts["worst_cases"].rows
    assert result.artifacts["worst_cases"].rows_in_all == n_rows
    assert 0 < (result.artifacts["worst_cases"].rows or 0) <= 1_000


def test_long_texts_are_cut() -> None:
    content, _ = csv_content(Table(header=["a"], rows=[["喵" * 10_000]], rows_in_all=1))
    assert content.decode() == f"a\n{'喵' * 999}…\n"


def test_a_table_ends_before_it_has_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_BYTES", 10)
    assert csv_content(Table(header=["a"], rows=[["1234"]] * 5, rows_in_all=5)) == (b"a\n1234\n1234\n", 2)
