"""What a result says of its scorer is the card's word, not the scorer's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import autoscorer
from autoscorer.scorers.registry import load_builtin, registry
from tests.workspaces import MakeWorkspace


@pytest.fixture(autouse=True)
def _braggart() -> Iterator[None]:
    """A scorer that says it is another one, of another time."""
    load_builtin()  # first: what is loaded while the patch holds would go with it
    with patch.dict(registry._scorers):

        @autoscorer.register("braggart")
        class Braggart(autoscorer.BaseScorer):
            name = "braggart"
            version = "1"

            def score(self, workspace: Path, params: dict[str, Any]) -> autoscorer.Result:
                versioning = {"scorer": "classification_f1", "version": "9", "timestamp": params["time"]}
                return autoscorer.Result(summary={}, metrics={"m": 1.0}, versioning=versioning)

        yield


def versioning(workspace: Path, time: str) -> dict[str, str]:
    result = autoscorer.score(
        reference=workspace / "reference" / "gt.csv",
        predictions=workspace / "output" / "pred.csv",
        scorer="braggart",
        params={"time": time},
        cache=False,
    )
    return result.versioning


def workspace_of(make_workspace: MakeWorkspace) -> Path:
    return make_workspace(truth="id,label\n1,cat\n", predictions="id,label\n1,cat\n")


def test_a_scorer_cannot_say_that_it_is_another(make_workspace: MakeWorkspace) -> None:
    told = versioning(workspace_of(make_workspace), "2026-01-01T00:00:00Z")
    assert (told["scorer"], told["version"]) == ("braggart", "1")
    assert told["timestamp"] == "2026-01-01T00:00:00Z"


def test_a_time_stamp_that_is_no_time_is_ours(make_workspace: MakeWorkspace) -> None:
    told = versioning(workspace_of(make_workspace), "long ago")
    assert datetime.fromisoformat(told["timestamp"]).tzinfo is not None
