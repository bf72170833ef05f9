"""Whatever a scorer does wrong has a name, and is never a score."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator
from pydantic_core import PydanticCustomError

from autoscorer.schemas.result import Result
from autoscorer.scorers.invoke import check_params, invoke
from autoscorer.utils.errors import AutoscorerError

VERSIONING = {"scorer": "odd", "version": "1", "timestamp": "2026-01-01T00:00:00Z"}


class Odd:
    """A scorer that does what it is told."""

    name = "odd"
    version = "1"

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act = act

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        returned: Result = self.act()
        return returned


class NativePanic(BaseException):
    """Stands for a panic of a native library, which is no Exception."""


def raising(error: BaseException) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


def result(**changes: Any) -> dict[str, Any]:
    return {"summary": {"score": 1.0}, "metrics": {"m": 1.0}, "versioning": VERSIONING} | changes


def test_a_right_result_comes_back_as_it_is(tmp_path: Path) -> None:
    good = Result(**result(metrics={"samples": 3}))
    assert invoke(Odd(lambda: good), tmp_path, {}) == good


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda: None, "SCORER_NO_RESULT"),
        (lambda: {"summary": {}}, "SCORER_BAD_RESULT"),
        (lambda: 0.5, "SCORER_BAD_RESULT"),
        (lambda: Result(**result(metrics={"m": float("nan")})), "SCORER_BAD_RESULT"),
        (lambda: Result(**result(error={"code": "CONTAINER_WAIT_FAILED"})), "SCORER_BAD_RESULT"),
        (lambda: Result(**result(summary={"note": "\x1b[2J"})), "SCORER_BAD_RESULT"),
        (lambda: Result(**result(summary={"note": "x" * 1001})), "SCORER_BAD_RESULT"),
        (lambda: Result(**result(versioning={**VERSIONING, "a": "x" * 10_001})), "SCORER_BAD_RESULT"),
        (lambda: Result(**result(metrics={"m": float("inf")})), "SCORER_BAD_RESULT"),
        (lambda: Result(**result(metrics={"m": "1"})), "SCORER_BAD_RESULT"),
        (lambda: Result(**result(metrics={"m": True})), "SCORER_BAD_RESULT"),
        (lambda: Result(**result(summary={"score": None})), "SCORER_BAD_RESULT"),
        (lambda: Result(**result(summary={"score": float("nan")})), "SCORER_BAD_RESULT"),
        (lambda: Result(**result(versioning={"scorer": "odd"})), "SCORER_BAD_RESULT"),
        (lambda: Result(**result(surprise=1)), "SCORER_BAD_RESULT"),
        (lambda: Result.model_construct(**result(metrics={"m": float("nan")})), "SCORER_BAD_RESULT"),
        (raising(ValueError("odd input")), "SCORE_ERROR"),
        (raising(KeyError("label")), "SCORE_ERROR"),
        (raising(RecursionError()), "SCORE_ERROR"),
        (raising(SystemExit(0)), "SCORE_ERROR"),
        (raising(NativePanic("index out of bounds")), "SCORE_ERROR"),
        (raising(MemoryError()), "SCORER_MEMORY"),
        (raising(AutoscorerError("TIME_LIMIT", "not mine to say")), "SCORE_ERROR"),
        (lambda: sys.exit(0), "SCORE_ERROR"),
    ],
)
def test_a_scorers_own_fault_is_the_organisers(tmp_path: Path, act: Callable[[], Any], code: str) -> None:
    with pytest.raises(AutoscorerError) as caught:
        invoke(Odd(act), tmp_path, {})
    assert (caught.value.code, caught.value.blame, caught.value.stage) == (code, "organiser", "scoring")


@pytest.mark.parametrize("code", ["MISSING_FILE", "PARSE_ERROR", "BAD_FORMAT"])
@pytest.mark.parametrize(("cause", "blame"), [("prediction", "participant"), ("reference", "organiser")])
def test_what_a_scorer_declares_about_the_data_passes(
    tmp_path: Path, code: str, cause: str, blame: str
) -> None:
    with pytest.raises(AutoscorerError) as caught:
        invoke(Odd(raising(AutoscorerError(code, "line 3", cause=cause))), tmp_path, {})
    assert (caught.value.code, caught.value.blame) == (code, blame)


def test_an_interrupt_is_not_the_scorers(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        invoke(Odd(raising(KeyboardInterrupt())), tmp_path, {})


class Beta(BaseModel, extra="forbid"):
    beta: float = 2.0


class WithParams(Odd):
    params_model = Beta


def test_parameters_are_checked_and_completed() -> None:
    scorer = WithParams(lambda: None)
    assert check_params(scorer, {}) == {"beta": 2.0}
    with pytest.raises(AutoscorerError) as caught:
        check_params(scorer, {"beta": "x", "betta": 1})
    assert [fault["field"] for fault in caught.value.details["faults"]] == [
        "scorer_params.beta",
        "scorer_params.betta",
    ]
    assert [fault["suggestion"] for fault in caught.value.details["faults"]] == [
        "odd takes: beta",
        "did you mean 'beta'?",
    ]
    assert "scorer_params.betta: unknown key" in caught.value.message


class Picky(BaseModel, extra="forbid"):
    names: list[str] = []

    @field_validator("names")
    @classmethod
    def _few(cls, names: list[str]) -> list[str]:
        if len(names) > 1:
            raise PydanticCustomError("names_too_long", "at most one name, not {n}", {"n": len(names)})
        return names


def test_a_models_own_error_is_told_in_its_words_whatever_it_is_called() -> None:
    scorer = Odd(lambda: None)
    scorer.params_model = Picky  # type: ignore[attr-defined]
    with pytest.raises(AutoscorerError, match="at most one name, not 2") as caught:
        check_params(scorer, {"names": ["a", "b"]})
    assert caught.value.code == "CONFIG_VALIDATION_ERROR"


def test_a_scorer_that_declares_no_parameters_gets_them_as_they_are() -> None:
    assert check_params(Odd(lambda: None), {"any": [1]}) == {"any": [1]}


def test_what_versioning_quotes_is_made_printable(tmp_path: Path) -> None:
    quoting = Result(**result(versioning={**VERSIONING, "labels": "\x9b2J猫\u3000"}))
    assert invoke(Odd(lambda: quoting), tmp_path, {}).versioning["labels"] == "?2J猫\u3000"


class Endless(BaseModel):
    weight: float = float("inf")


def test_a_default_that_is_not_finite_is_named() -> None:
    scorer = Odd(lambda: None)
    scorer.params_model = Endless  # type: ignore[attr-defined]
    assert check_params(scorer, {"weight": 1}) == {"weight": 1.0}
    with pytest.raises(AutoscorerError, match="weight") as caught:
        check_params(scorer, {})
    assert (caught.value.code, caught.value.blame) == ("CONFIG_VALIDATION_ERROR", "organiser")
