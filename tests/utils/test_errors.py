"""The standard error: its shape, its verbs, and who is blamed."""

from __future__ import annotations

import pytest

from autoscorer.utils.errors import AutoscorerError, code_table, make_error


def test_the_standard_error_has_the_specified_shape() -> None:
    error = make_error("execution", "MY_CODE", "what was wrong", {"line": 3}, "logs/container.log")
    assert error == {
        "ok": False,
        "stage": "execution",
        "code": "MY_CODE",
        "message": "what was wrong",
        "details": {"line": 3},
        "logs": "logs/container.log",
    }
    assert set(make_error("api", "MY_CODE", "m")) == {"ok", "stage", "code", "message"}


@pytest.mark.parametrize(("verb", "stage"), [("run", "execution"), ("score", "scoring"), ("queue", "queue")])
def test_verbs_are_accepted_for_stages(verb: str, stage: str) -> None:
    assert make_error(verb, "MY_CODE", "m")["stage"] == stage


def test_an_unknown_stage_is_a_slip_of_ours() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        make_error("nowhere", "MY_CODE", "m")


@pytest.mark.parametrize(("cause", "blame"), [("prediction", "participant"), ("reference", "organiser")])
def test_the_cause_decides_who_is_blamed(cause: str, blame: str) -> None:
    error = AutoscorerError("PARSE_ERROR", "line 3", cause=cause)
    assert error.blame == blame
    assert error.to_dict()["details"]["blame"] == blame


def test_a_misspelt_cause_never_blames_anybody() -> None:
    with pytest.raises(ValueError, match="refrence"):
        AutoscorerError("PARSE_ERROR", "line 3", cause="refrence")


def test_every_row_has_both_languages_and_each_pair_stands_once() -> None:
    rows = code_table()
    assert all(row.meaning_en and row.meaning_zh and row.hint_en and row.hint_zh for row in rows)
    assert len({(row.code, row.cause) for row in rows}) == len(rows)


def test_only_the_table_says_whom_a_fault_blames() -> None:
    forged = {"blame": "platform", "retryable": True, "hint": {"en": "pay me"}}
    details = make_error("score", "SCORE_ERROR", "m", forged)["details"]
    assert (details["blame"], details["retryable"]) == ("organiser", False)
    assert "details" not in make_error("score", "MY_CODE", "m", forged)
