"""`autoscorer result`: what stands in a workspace, whole or as a participant may see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli import call
from tests.scorers.tables import table
from tests.workspaces import MakeWorkspace

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them

TRUTH, PREDICTED = table([(1, "cat"), (2, "dog")]), table([(1, "cat"), (2, "cat")])


@pytest.fixture
def scored(make_workspace: MakeWorkspace) -> Path:
    workspace = make_workspace(truth=TRUTH, predictions=PREDICTED)
    assert call("score", workspace).exit_code == 0
    return workspace


def test_the_organiser_sees_what_was_written(scored: Path) -> None:
    written = json.loads((scored / "output" / "result.json").read_bytes())
    assert call("result", scored).answer["data"]["result"] == written


def test_a_participant_sees_no_truth_unless_it_is_allowed(scored: Path) -> None:
    asked = ("result", scored, "--audience", "participant")
    assert list(call(*asked).answer["data"]["result"]["artifacts"]) == ["per_label"]
    allowed = call(*asked, env={"SHOW_TRUTH_TO_PARTICIPANTS": "true"}).answer["data"]["result"]
    assert set(allowed["artifacts"]) == {"confusion_matrix", "per_label", "worst_cases"}


def test_a_failure_is_a_result_too(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(truth=TRUTH, predictions="id,label\n1,cat\n")
    assert call("score", workspace).exit_code == 1
    called = call("result", workspace, "--audience", "participant")
    assert called.exit_code == 0
    assert called.answer["data"]["result"]["error"]["code"] == "BAD_FORMAT"


def test_without_a_result_it_says_how_to_get_one(make_workspace: MakeWorkspace) -> None:
    called = call("result", make_workspace())
    assert called.exit_code == 1
    assert "autoscorer score" in called.error["message"]


def test_a_result_that_was_tampered_with_is_named_and_not_shown(scored: Path) -> None:
    (scored / "output" / "result.json").write_text('{"summary": {"score": "NaN"}}')
    assert call("result", scored).error["code"] == "CONFIG_VALIDATION_ERROR"


def test_an_unknown_audience_is_a_usage_error(scored: Path) -> None:
    assert call("result", scored, "--audience", "everybody").exit_code == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"code": 1},
        {"message": None},
        {"stage": "lunch"},
        {"ok": True},
        {"details": "text"},
        {"details": {"cause": 1}},
        {"details": {"cause": "weather"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("audience", ["organiser", "participant"])
def test_an_error_that_is_none_of_ours_is_named_and_not_shown(
    make_workspace: MakeWorkspace, changes: dict[str, object], audience: str
) -> None:
    workspace = make_workspace(truth=TRUTH, predictions="id,label\n1,cat\n")
    call("score", workspace)
    path = workspace / "output" / "result.json"
    written = json.loads(path.read_bytes())
    written["error"] |= changes
    path.write_text(json.dumps(written))
    called = call("result", workspace, "--audience", audience)
    assert called.exit_code == 1
    assert called.error["code"] == "CONFIG_VALIDATION_ERROR"
    assert "is no result as AutoScorer writes it" in called.error["message"]


def test_a_delivered_artifacts_folder_is_told_of_and_ours_is_not(scored: Path) -> None:
    assert call("score", scored).answer["meta"]["warnings"] == []
    (scored / "output" / "artifacts" / "mine.txt").write_text("delivered")
    (warning,) = call("score", scored).answer["meta"]["warnings"]
    assert warning["code"] == "RESERVED_NAME"
    assert "output/artifacts" in warning["message"]
