"""A forged answer spoils the forger's own score, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autoscorer.scorers.child import verdicts
from autoscorer.scorers.child.birth import Ended
from autoscorer.utils.errors import AutoscorerError

VERSIONING = {"scorer": "odd", "version": "1", "timestamp": "2026-01-01T00:00:00Z"}
RESULT: dict[str, Any] = {"summary": {"score": 1.0}, "metrics": {"m": 1.0}, "versioning": VERSIONING}


def judged(answer: str) -> dict[str, Any]:
    ended = Ended(
        answer=answer.encode(),
        broken_answer=False,
        failure=None,
        lost=False,
        stopped=None,
        exit_code=0,
        signal=None,
        oom_kills=0,
        seconds=0.1,
        cpu_seconds=None,
        peak_memory_bytes=None,
        output_tail="",
    )
    return verdicts.judge(ended, name="odd", time_limit_s=1, memory_bytes=1)


def told(details: dict[str, Any]) -> AutoscorerError:
    with pytest.raises(AutoscorerError) as caught:
        judged(json.dumps({"error": ["SCORE_ERROR", "", "a message", details]}))
    return caught.value


def test_an_honest_answer_is_a_result() -> None:
    assert verdicts.result_of(judged(json.dumps({"result": RESULT})), "odd").metrics == {"m": 1.0}


@pytest.mark.parametrize(
    "forged",
    [
        {**RESULT, "error": {"code": "CONTAINER_WAIT_FAILED"}},
        {**RESULT, "summary": {"note": "\x1b[2J"}},
        {**RESULT, "summary": {"x" * 1001: 1.0}},
    ],
    ids=["an error of its own choice", "a control sequence", "a text without end"],
)
def test_a_forged_result_is_a_bad_one(forged: dict[str, Any]) -> None:
    with pytest.raises(AutoscorerError) as caught:
        verdicts.result_of(judged(json.dumps({"result": forged})), "odd")
    assert (caught.value.code, caught.value.blame) == ("SCORER_BAD_RESULT", "organiser")


def test_a_number_that_is_read_as_infinity_is_no_answer() -> None:
    assert json.loads("1e999") == float("inf")  # the control: this is how it would come in
    with pytest.raises(AutoscorerError) as caught:
        judged('{"params": {"weight": 1e999}}')
    assert caught.value.code == "SCORER_BAD_RESULT"


def test_details_do_not_choose_whom_a_fault_blames() -> None:
    forged = {"blame": "platform", "retryable": True, "hint": {"en": "pay me"}, "cause": "prediction"}
    details = told(forged).to_dict()["details"]
    assert (details["blame"], details["retryable"]) == ("organiser", False)
    assert "pay me" not in json.dumps(details)


def test_a_place_in_the_code_is_a_name_and_a_number() -> None:
    good = {"file": "odd.py", "line": 3, "missing": "neighbour"}
    assert told(good).details == good
    assert told({"file": [1], "line": "abc", "missing": {"a": 1}, "other": 1}).details == {"other": 1}
    assert told({"file": "x" * 301, "line": True, "missing": "x" * 301}).details == {}
