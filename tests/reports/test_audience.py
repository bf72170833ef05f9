"""A participant's view: no artifact, no hash and no error of it tells what is true of a row."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

import autoscorer
from autoscorer.reports.audience import HIDDEN_MESSAGE, TELLING_HASHES, participant_view
from autoscorer.schemas.result import Artifact, Result
from autoscorer.utils.errors import AutoscorerError, code_table
from tests.scorers.tables import table
from tests.workspaces import MakeWorkspace

SECRET = "SECRET"


def result_of(error: AutoscorerError | None = None, **artifacts: bool) -> Result:
    """A result with these artifacts: name to whether it shows the truth."""
    listed = {
        name: Artifact(path=f"artifacts/{name}.csv", size=1, sha256="0" * 64, shows_truth=shows_truth)
        for name, shows_truth in artifacts.items()
    }
    versioning = {"scorer": "s", "version": "1", "timestamp": "now"} | dict.fromkeys(TELLING_HASHES, "f" * 64)
    return Result(
        summary={"score": 1.0},
        metrics={"f1": 1.0},
        artifacts=listed,
        versioning=versioning,
        error=error.to_dict("logs/") if error else None,
    )


def test_only_artifacts_that_show_the_truth_are_dropped() -> None:
    result = result_of(worst_cases=True, per_label=False)
    seen = participant_view(result)
    assert set(seen.artifacts) == {"per_label"}
    assert (seen.summary, seen.metrics) == (result.summary, result.metrics)
    assert set(result.artifacts) == {"worst_cases", "per_label"}


def test_an_artifact_that_does_not_say_is_taken_to_show_the_truth() -> None:
    unsaid = Artifact.model_validate({"path": "artifacts/a.csv", "size": 1, "sha256": "0" * 64})
    assert participant_view(result_of().model_copy(update={"artifacts": {"a": unsaid}})).artifacts == {}


def test_the_organiser_may_allow_it_all() -> None:
    result = result_of(AutoscorerError("BAD_FORMAT", SECRET, cause="reference"), worst_cases=True)
    assert participant_view(result, allow_truth=True) == result


def test_the_view_of_a_view_is_the_same() -> None:
    once = participant_view(result_of(AutoscorerError("SCORE_ERROR", SECRET), a=True, b=False))
    assert participant_view(once) == once


def test_a_short_truth_cannot_be_guessed_by_its_hash(make_workspace: MakeWorkspace) -> None:
    truth = table([(1, "cat"), (2, "dog"), (3, "dog")])
    result = autoscorer.score(make_workspace(truth=truth, predictions=table(enumerate(["cat"] * 3, 1))))
    guesses = {
        hashlib.sha256(table(enumerate(labels, 1)).encode()).hexdigest(): labels
        for labels in itertools.product(("cat", "dog"), repeat=3)
    }
    # The control: with the hash the eight possible truths are down to one.
    assert guesses[result.versioning["reference_sha256"]] == ("cat", "dog", "dog")
    told = json.dumps(participant_view(result).to_json())
    assert result.versioning["reference_sha256"] not in told
    assert result.versioning["score_digest"] not in told


@pytest.mark.parametrize("row", code_table(), ids=lambda row: f"{row.code} {row.cause}".strip())
def test_a_fault_of_the_organisers_is_told_without_its_particulars(row: Any) -> None:
    error = AutoscorerError(row.code, SECRET, {"offenders": [SECRET], "stderr_tail": SECRET}, cause=row.cause)
    seen = participant_view(result_of(error)).error or {}
    assert seen["code"] == row.code
    assert seen["details"]["hint"]["zh"] == row.hint_zh
    is_organisers = row.blame == "organiser"
    assert (SECRET not in json.dumps(seen)) == is_organisers
    assert (seen["message"] == HIDDEN_MESSAGE) == is_organisers


def test_details_that_claim_another_blame_open_nothing() -> None:
    """Also of a result that was written before details lost their say."""
    error = {"ok": False, "code": "SCORE_ERROR", "message": SECRET, "details": {"blame": "participant"}}
    seen = participant_view(result_of().model_copy(update={"error": error}))
    assert SECRET not in json.dumps(seen.to_json())


TRUTH = table([("a", f"{SECRET}1"), ("b", f"{SECRET}2"), ("c", f"{SECRET}1")])
NUMBERS = table([("a", "7919.25"), ("b", "-7919.25"), ("c", "7919.25")])
TRUTHS = {"classification_f1": TRUTH, "regression_rmse": NUMBERS}
FAULTY = {
    "an id is missing": "id,label\na,1\nb,1\n",
    "an id is strange": "id,label\na,1\nb,1\nc,1\nd,1\n",
    "an id in another form": "id,label\nA,1\nB ,1\nc.0,1\n",
    "an id stands twice": "id,label\na,1\nb,1\nb,1\n",
    "an empty label": "id,label\na,\nb,1\nc,1\n",
    "no label": "id\na\nb\nc\n",
    "a ragged row": "id,label\na,1,2\n",
    "no rows": "id,label\n",
    "nothing": "",
    "NUL": "id,label\na,\0\n",
    "a web page": "<html></html>",
    "an open quote": 'id,label\n"a,1\n',
}


NO_NUMBERS = "id,label\na,x\nb,nan\nc,1e999\n"
CASES = {f"{what}: {scorer}": (scorer, text) for what, text in FAULTY.items() for scorer in TRUTHS} | {
    "no numbers": ("regression_rmse", NO_NUMBERS)
}


@pytest.mark.parametrize(("scorer", "predictions"), CASES.values(), ids=CASES.keys())
def test_a_fault_of_the_prediction_quotes_no_true_value(
    scorer: str, predictions: str, make_workspace: MakeWorkspace
) -> None:
    workspace = make_workspace(truth=TRUTHS[scorer], predictions=predictions, spec={"scorer": scorer})
    with pytest.raises(AutoscorerError) as caught:
        autoscorer.score(workspace)
    assert caught.value.blame == "participant"
    told = json.dumps(caught.value.to_dict())
    assert SECRET not in told
    assert "7919" not in told


@pytest.mark.parametrize("side", ["reference", "prediction"])
def test_a_faulty_row_is_quoted_to_the_side_that_wrote_it(side: str, make_workspace: MakeWorkspace) -> None:
    """The control: a message does quote the row; of the reference's a participant hears nothing."""
    good, bad = table([("a", "x")]), f"id,label\na,{SECRET},more\n"
    truth, predictions = (bad, good) if side == "reference" else (good, bad)
    workspace = make_workspace(truth=truth, predictions=predictions)
    with pytest.raises(AutoscorerError) as caught:
        autoscorer.score(workspace)
    assert SECRET in json.dumps(caught.value.details)
    result = Result.model_validate_json((workspace / "output" / "result.json").read_text())
    assert (SECRET in json.dumps(participant_view(result).to_json())) == (side == "prediction")


BOXES = [{"image_id": 1, "category_id": 3, "bbox": [7919.25, 1.0, 7919.5, 2.0]}]
BAD_BOXES: dict[str, Any] = {
    "an unknown image": [{**BOXES[0], "image_id": 9, "bbox": [0, 0, 1, 1], "score": 1}],
    "an unknown category": [{**BOXES[0], "category_id": "3", "bbox": [0, 0, 1, 1], "score": 1}],
    "no score": [{**BOXES[0], "bbox": [0, 0, 1, 1]}],
    "a negative width": [{**BOXES[0], "bbox": [0, 0, -1, 1], "score": 1}],
    "no list": 7,
}


@pytest.mark.parametrize("predictions", BAD_BOXES.values(), ids=BAD_BOXES.keys())
def test_a_fault_of_predicted_boxes_quotes_no_true_box(
    predictions: Any, make_workspace: MakeWorkspace
) -> None:
    workspace = make_workspace(truth=None, spec={"scorer": "detection_map"})
    for name, value in (("reference/gt.json", BOXES), ("output/pred.json", predictions)):
        path = Path(workspace / name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value))
    with pytest.raises(AutoscorerError) as caught:
        autoscorer.score(workspace)
    assert caught.value.blame == "participant"
    assert "7919" not in json.dumps(caught.value.to_dict())
