"""Calling a scorer: organiser's code whose every failure becomes a named error, never a score."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autoscorer.schemas.job import SpecFault, spec_error, told_faults
from autoscorer.schemas.result import Result
from autoscorer.scorers.base import Scorer
from autoscorer.scorers.tracing import code_of, place_of
from autoscorer.utils.errors import AutoscorerError

# Only these say something about the data; anything else a scorer raises is its own fault.
DECLARED_CODES = ("MISSING_FILE", "PARSE_ERROR", "BAD_FORMAT")
MAX_SUMMARY_CHARS = 1000
MAX_VERSIONING_CHARS = 10_000  # the names of all metrics that some data do not define


def check_params(scorer: Scorer, params: dict[str, Any]) -> dict[str, Any]:
    """``params`` as the scorer's ``params_model`` reads them, defaults filled in; unchanged without one.

    Raises CONFIG_VALIDATION_ERROR naming every faulty parameter.
    """
    model = getattr(scorer, "params_model", None)
    if model is None:
        return dict(params)
    try:
        complete = dict(model.model_validate(params).model_dump(mode="json"))
    except ValidationError as exc:
        known = ", ".join(model.model_fields) or "none"
        told = told_faults(
            [{**error, "loc": ("scorer_params", *error["loc"])} for error in exc.errors()],
            {"scorer_params": model},
            whole="scorer_params",
        )
        raise spec_error(
            replace(fault, suggestion=fault.suggestion or f"{scorer.name} takes: {known}") for fault in told
        ) from exc
    if odd := [name for name, value in complete.items() if not _is_finite(value)]:
        hint = "give a finite number"  # a default is not validated: infinity may stand there
        raise spec_error([SpecFault(f"scorer_params.{name}", "is not finite", hint) for name in odd])
    return complete


def _is_finite(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def invoke(scorer: Scorer, view: Path, params: dict[str, Any]) -> Result:
    """The scorer's result for ``view``, checked.

    Raises AutoscorerError: what the scorer declared about the data, else SCORE_ERROR, SCORER_MEMORY,
    SCORER_NO_RESULT or SCORER_BAD_RESULT.
    """
    try:
        returned: Any = scorer.score(view, params)
    except AutoscorerError as exc:
        if exc.code in DECLARED_CODES:
            raise
        raise AutoscorerError("SCORE_ERROR", exc.message, {**exc.details, "raised": exc.code}) from exc
    except MemoryError as exc:
        raise AutoscorerError("SCORER_MEMORY", f"{scorer.name} ran out of memory") from exc
    except KeyboardInterrupt:
        raise
    except ValidationError as exc:
        if exc.title == Result.__name__:
            raise _bad_result(scorer, exc) from exc
        raise _raised(scorer, exc) from exc
    except BaseException as exc:  # boundary: foreign code; native panics and sys.exit are BaseException
        raise _raised(scorer, exc) from exc
    return checked(scorer, returned)


def checked(scorer: Scorer, returned: Any) -> Result:
    """``returned`` as a valid Result, or SCORER_NO_RESULT / SCORER_BAD_RESULT."""
    if returned is None:
        raise AutoscorerError("SCORER_NO_RESULT", f"{scorer.name} returned nothing")
    if not isinstance(returned, Result):
        kind = type(returned).__name__
        raise AutoscorerError("SCORER_BAD_RESULT", f"{scorer.name} returned {kind}, not a Result")
    try:
        # Built without validation (model_construct) or changed afterwards, a Result may still be wrong.
        return returnable(returned.model_dump())
    except ValueError as exc:
        raise _bad_result(scorer, exc) from exc


def returnable(values: Any) -> Result:
    """``values`` as a Result that a scorer may return. Raises ValueError.

    Only the platform states an error: one that a scorer returned would choose its own blame. Texts are
    shown as they are: those of ``summary`` are printable, those of ``versioning`` are made so, since they
    may quote what a participant delivered.
    """
    result = Result.model_validate(values)
    if result.error is not None:
        raise ValueError("error: a scorer raises its faults, it does not return them")
    for name, value in result.summary.items():
        for text in (name, str(value)):
            if len(text) > MAX_SUMMARY_CHARS or _printable(text) != text:
                limit = f"a text has at most {MAX_SUMMARY_CHARS} characters, all printable"
                raise ValueError(f"summary.{name[:100]!a}: {limit}")
    for name, text in result.versioning.items():
        if len(name) > MAX_SUMMARY_CHARS or len(text) > MAX_VERSIONING_CHARS:
            limit = f"a text has at most {MAX_VERSIONING_CHARS} characters"
            raise ValueError(f"versioning.{name[:100]!a}: {limit}")
    plain = {_printable(name): _printable(text) for name, text in result.versioning.items()}
    return result.model_copy(update={"versioning": plain})


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else "?" for c in text)


def _raised(scorer: Scorer, exc: BaseException) -> AutoscorerError:
    place = place_of(exc, code_of(scorer))
    where = f" ({place['file']}, line {place['line']})" if place else ""
    message = f"{scorer.name} raised {type(exc).__name__}: {_first_line(exc)}{where}"
    return AutoscorerError("SCORE_ERROR", message, {"exception": type(exc).__name__, **place})


def _bad_result(scorer: Scorer, exc: ValueError) -> AutoscorerError:
    if isinstance(exc, ValidationError):
        faults = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()]
    else:
        faults = [_first_line(exc)]
    message = f"the result of {scorer.name} is not valid: {'; '.join(faults[:5])}"
    return AutoscorerError("SCORER_BAD_RESULT", message, {"faults": faults[:20]})


def _first_line(exc: BaseException) -> str:
    text = str(exc).strip()
    return text.splitlines()[0][:500] if text else "no message"
