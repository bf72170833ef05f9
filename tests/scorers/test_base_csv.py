"""`BaseCSVScorer`, by the example of the design: a scorer somebody else wrote."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from sklearn.metrics import fbeta_score

from autoscorer.scorers.base import BaseCSVScorer
from autoscorer.scorers.registry import ScorerRegistry, registry
from autoscorer.utils.errors import AutoscorerError, Blame
from tests.scorers.tables import table, workspace

EXAMPLE = Path(__file__).parents[2] / "custom_scorers" / "classification_f2.py"
TRUTH, DELIVERED = "aabbcc", "abbbca"


@pytest.fixture
def f2(monkeypatch: pytest.MonkeyPatch) -> BaseCSVScorer:
    """The shipped example, imported and registered as its author would, in a registry of this test."""
    own = ScorerRegistry()
    monkeypatch.setattr("autoscorer.scorers.registry.register", own.register)
    spec = importlib.util.spec_from_file_location("classification_f2_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    scorer = own.get("classification_f2")
    assert isinstance(scorer, BaseCSVScorer)
    return scorer


def test_the_f2_example_scores_as_scikit_learn(f2: BaseCSVScorer, tmp_path: Path) -> None:
    root = workspace(tmp_path, table(enumerate(TRUTH)), table(reversed(list(enumerate(DELIVERED)))))
    result = f2.score(root, {})
    expected = fbeta_score(list(TRUTH), list(DELIVERED), beta=2, average="macro")
    assert result.summary == {"score": pytest.approx(expected), "f2": pytest.approx(expected)}
    assert result.metrics["samples"] == 6
    assert result.versioning["timestamp"].endswith("Z")
    assert "classification_f2" not in registry.names()


def test_rows_are_texts_by_id_and_column(f2: BaseCSVScorer, tmp_path: Path) -> None:
    root = workspace(tmp_path, "id,label,split\n01,cat,a\n1,dog,\n", "label,id\ncat,01\ndog,1\n")
    assert f2._load_ground_truth(root) == {
        "01": {"id": "01", "label": "cat", "split": "a"},
        "1": {"id": "1", "label": "dog", "split": ""},
    }
    assert f2._load_predictions(root)["1"]["label"] == "dog"


FAULTS = {
    "missing id": ("id,label\n1,cat\n", "1 id is missing: '2'"),
    "duplicate id": ("id,label\n1,cat\n1,cat\n", "line 3"),
    "no label column": ("id,class\n1,cat\n2,dog\n", "no column 'label'"),
    "empty label": ("id,label\n1,\n2,dog\n", "line 2: label is empty"),
    "blank row": ("id,label\n1,cat\n\n2,dog\n", "line 3"),
}


@pytest.mark.parametrize(("prediction", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_faults_are_named_before_the_authors_code_runs(
    prediction: str, words: str, f2: BaseCSVScorer, tmp_path: Path
) -> None:
    with pytest.raises(AutoscorerError) as caught:
        f2.score(workspace(tmp_path, "id,label\n1,cat\n2,dog\n", prediction), {})
    assert (caught.value.code, caught.value.blame) == ("BAD_FORMAT", Blame.PARTICIPANT)
    assert words in caught.value.message
    assert caught.value.details["file"] == "output/pred.csv"


def test_a_truth_without_rows_is_the_organisers_fault(f2: BaseCSVScorer, tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError, match="has no rows") as caught:
        f2.score(workspace(tmp_path, "id,label\n", "id,label\n"), {})
    assert caught.value.blame is Blame.ORGANISER


def test_json_rows_are_texts_too(f2: BaseCSVScorer, tmp_path: Path) -> None:
    root = workspace(tmp_path, "id,label\n1,cat\n", "")
    (root / "output" / "pred.csv").unlink()
    (root / "output" / "pred.json").write_text('[{"id": 1, "label": "cat", "p": 0.5, "more": {"b": [1]}}]')
    assert f2._load_predictions(root) == {"1": {"id": "1", "label": "cat", "p": "0.5", "more": '{"b":[1]}'}}
    assert f2.score(root, {}).summary["f2"] == 1.0
