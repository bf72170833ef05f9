"""`classification_f1` and `classification_accuracy`: keys, odd labels, artifacts, reproducibility."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.metrics import f1_score

from autoscorer.reading import align
from autoscorer.scorers.registry import get_scorer
from tests.scorers.tables import facts, score, table, workspace

PETS = "id,label\n1,cat\n2,dog\n"


def test_the_reference_result_of_the_design(tmp_path: Path) -> None:
    result = score(tmp_path, "classification_f1", PETS, PETS)
    assert result.summary == {"score": 1.0, "f1_macro": 1.0}
    assert result.metrics == {"f1_macro": 1.0, "f1_cat": 1.0, "f1_dog": 1.0}
    assert result.versioning["scorer"] == "classification_f1"


def test_accuracy_in_all_and_for_each_true_label(tmp_path: Path) -> None:
    truth = table([(1, "cat"), (2, "cat"), (3, "cat"), (4, "dog")])
    result = score(
        tmp_path, "classification_accuracy", truth, table([(1, "cat"), (2, "dog"), (3, "cat"), (4, "dog")])
    )
    assert result.summary == {"score": 0.75, "accuracy": 0.75}
    assert result.metrics == {"accuracy": 0.75, "accuracy_cat": 2 / 3, "accuracy_dog": 1.0}


def test_classification_acc_is_the_same_scorer() -> None:
    assert get_scorer("classification_acc") is get_scorer("classification_accuracy")


# Truth and prediction, one letter a row.
ODD = {
    "a label nobody predicted": ("aabb", "aaaa"),
    "a predicted label that the truth lacks": ("aabb", "abbc"),
    "one class": ("aaaa", "aaaa"),
    "one row": ("a", "a"),
    "one wrong row": ("a", "b"),
    "nothing right": ("aabb", "ccdd"),
}


@pytest.mark.parametrize(("truth", "prediction"), ODD.values(), ids=ODD.keys())
def test_odd_labels_score_as_in_scikit_learn(truth: str, prediction: str, tmp_path: Path) -> None:
    result = score(tmp_path, "classification_f1", table(enumerate(truth)), table(enumerate(prediction)))
    expected = f1_score(list(truth), list(prediction), average="macro", zero_division=0)
    assert result.summary["f1_macro"] == pytest.approx(expected, rel=1e-15)
    assert set(result.metrics) == {"f1_macro", *(f"f1_{label}" for label in truth)}


def test_predicted_labels_that_the_reference_lacks_are_named(tmp_path: Path) -> None:
    result = score(tmp_path, "classification_f1", table(enumerate("aab")), table(enumerate("axy")))
    assert json.loads(result.versioning["labels_not_in_reference"]) == {"count": 2, "first": ["x", "y"]}
    assert "labels_not_in_reference" not in score(tmp_path, "classification_f1", PETS, PETS).versioning


def test_a_label_called_macro_does_not_take_the_place_of_the_mean(tmp_path: Path) -> None:
    result = score(
        tmp_path, "classification_f1", table(enumerate(["macro", "b"])), table(enumerate(["b", "b"]))
    )
    assert result.metrics == {"f1_macro": pytest.approx(1 / 3), "f1_b": pytest.approx(2 / 3)}
    assert json.loads(result.versioning["labels_without_key"]) == {"count": 1, "first": ["macro"]}


def test_over_a_thousand_labels_are_in_the_artifact_only(tmp_path: Path) -> None:
    truth = table((row, f"label {row:04}") for row in range(1_001))
    root = workspace(tmp_path, truth, truth.replace("label 0007", "other"))
    result = get_scorer("classification_f1").score(root, {})
    assert set(result.metrics) == {"f1_macro"}
    artifact = result.artifacts["per_label"]
    content = (root / "output" / artifact.path).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (artifact.size, artifact.sha256)
    rows = list(csv.DictReader(content.decode().splitlines()))
    assert len(rows) == 1_001
    assert rows[7] == {
        "label": "label 0007",
        "f1": "0.0",
        "precision": "0.0",
        "recall": "0.0",
        "support": "1",
    }


def test_a_thousand_labels_are_still_keys(tmp_path: Path) -> None:
    truth = table((row, f"label {row:04}") for row in range(1_000))
    result = score(tmp_path, "classification_f1", truth, truth)
    assert len(result.metrics) == 1_001


@pytest.mark.parametrize("scorer", ["classification_f1", "classification_accuracy"])
@pytest.mark.parametrize("fast", [False, True])
def test_shuffled_predictions_give_the_same_result(
    scorer: str, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(align, "FAST_READER_BYTES", 0 if fast else 2**40)
    chance = random.Random(11)
    truth = [(row, chance.choice("abcdefg")) for row in range(500)]
    delivered = [(row, chance.choice("abcdefgh")) for row in range(500)]
    found = []
    for _ in range(5):
        chance.shuffle(delivered)
        found.append(facts(score(tmp_path, scorer, table(truth), table(delivered))))
    assert all(one == found[0] for one in found)


@pytest.mark.slow
@pytest.mark.parametrize("scorer", ["classification_f1", "regression_rmse"])
def test_one_and_two_threads_and_many_runs_give_the_same_bits(scorer: str, tmp_path: Path) -> None:
    chance = random.Random(13)
    value = (lambda: chance.choice("abcdefg")) if scorer == "classification_f1" else chance.random
    files = [table((row, value()) for row in range(300_000)) for _ in range(2)]
    root = workspace(tmp_path, *files)
    program = """
import json, pathlib, sys
from autoscorer.scorers.registry import get_scorer
result = get_scorer(sys.argv[1]).score(pathlib.Path(sys.argv[2]), {})
print(json.dumps([result.summary, result.metrics]), "polars" in sys.modules)
"""
    found = set()
    for threads in ("1", "2", "2", "2"):
        command = [sys.executable, "-c", program, scorer, str(root)]
        environment = {**os.environ, "POLARS_MAX_THREADS": threads}
        run = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
        found.add(run.stdout)
    assert len(found) == 1
    assert found.pop().endswith("True\n")
