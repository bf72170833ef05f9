"""What `BaseScorer` spares an author: reading, aligning, results and artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoscorer import BaseScorer, Result
from autoscorer.utils.errors import AutoscorerError
from tests.scorers.tables import table, workspace


class Plain(BaseScorer):
    """Has the base's helpers and no metric."""

    name = "plain"
    version = "2.1"

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        raise NotImplementedError


class Headed(Plain):
    primary_metric = "second"


def test_labels_are_read_checked_and_aligned(tmp_path: Path) -> None:
    view = workspace(tmp_path, table([(1, "cat"), (2, "dog")]), table([(2, "fox"), (1, "cat")]))
    aligned = Plain().load_labels(view)
    assert aligned.labels == ("cat", "dog", "fox")
    assert (aligned.y_true.tolist(), aligned.y_pred.tolist()) == ([0, 1], [0, 2])


def test_values_are_read_checked_and_aligned(tmp_path: Path) -> None:
    aligned = Plain().load_values(
        workspace(tmp_path, table([(1, 1.5), (2, 2)]), table([(2, 3), (1, "-1e2")]))
    )
    assert (aligned.y_true.tolist(), aligned.y_pred.tolist()) == ([1.5, 2.0], [-100.0, 3.0])


def test_a_number_that_would_overflow_is_refused_on_its_side(tmp_path: Path) -> None:
    ordinary, huge = table([(1, 1)]), table([(1, "1e308")])
    for reference, prediction, blamed in ((huge, ordinary, "reference"), (ordinary, huge, "prediction")):
        with pytest.raises(AutoscorerError) as caught:
            Plain().load_values(workspace(tmp_path, reference, prediction))
        assert (caught.value.code, caught.value.cause) == ("BAD_FORMAT", blamed)
        assert "a number of size 1e+308 is beyond 1e+100" in caught.value.message
    view = workspace(tmp_path, ordinary, huge)
    assert Plain().load_values(view, largest=1e308).y_pred.tolist() == [1e308]


def test_a_fault_of_the_data_is_blamed_on_its_side(tmp_path: Path) -> None:
    view = workspace(tmp_path, table([(1, 1)]), table([(1, "nan")]))
    with pytest.raises(AutoscorerError) as caught:
        Plain().load_values(view)
    assert (caught.value.code, caught.value.cause) == ("BAD_FORMAT", "prediction")


def test_a_result_has_its_headline_in_the_summary_and_names_what_is_undefined() -> None:
    result = Plain().make_result({"first": 1, "second": None, "third": 0.5}, library="x 1.0")
    assert result.summary == {"score": 1.0, "first": 1.0}
    assert result.metrics == {"first": 1.0, "third": 0.5}
    assert result.versioning["undefined"] == '["second"]'
    assert (result.versioning["scorer"], result.versioning["version"]) == ("plain", "2.1")
    assert result.versioning["library"] == "x 1.0"


def test_the_headline_is_the_primary_metric_where_one_is_declared() -> None:
    assert Headed().make_result({"first": 1.0, "second": 2.0}).summary == {"score": 2.0, "second": 2.0}


def test_an_undefined_headline_is_never_a_result() -> None:
    with pytest.raises(ValueError, match="second is not defined"):
        Headed().make_result({"first": 1.0, "second": None})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_is_never_a_result(value: float) -> None:
    with pytest.raises(ValueError, match=f"second is {value}: a metric that the data do not define is None"):
        Plain().make_result({"first": 1.0, "second": value})


def test_an_artifact_is_text_or_bytes(tmp_path: Path) -> None:
    artifact = Plain().write_artifact(tmp_path, "curve.csv", "x,y\n1,ä\n")
    assert (tmp_path / "output" / artifact.path).read_text(encoding="utf-8") == "x,y\n1,ä\n"
    assert artifact.size == len("x,y\n1,ä\n".encode())
    assert artifact == Plain().write_artifact(tmp_path, "curve.csv", "x,y\n1,ä\n".encode())
