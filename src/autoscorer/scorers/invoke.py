"""Calling a scorer: organiser's code whose every failure becomes a named error, never a score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autoscorer.schemas.job import SpecFault, spec_error
from autoscorer.schemas.result import Result
from autoscorer.scorers.base import Scorer
from autoscorer.scorers.tracing import code_of, place_of
from autoscorer.utils.errors import AutoscorerError

# Only these say something about the data; anything else a scorer raises is its own fault.
DECLARED_CODES = ("MISSING_FILE", "PARSE_ERROR", "BAD_FORMAT")


def check_params(scorer: Scorer, params: dict[str, Any]) -> dict[str, Any]:
    """``params`` as the scorer's ``params_model`` reads them, defaults filled in; unchanged without one.

    Raises CONFIG_VALIDATION_ERROR naming every faulty parameter.
    """
    model = getattr(scorer, "params_model", None)
    if model is None:
        return dict(params)
    try:
        return dict(model.model_validate(params).model_dump(mode="json"))
    except ValidationError as exc:
        known = ", ".join(model.model_fields) or "none"
        faults = [
            SpecFault(
                ".".join(("scorer_params", *map(str, error["loc"]))),
                error["msg"],
                f"{scorer.name} takes: {known}",
            )
            for error in exc.errors()
        ]
        raise spec_error(faults) from exc


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
        return Result.model_validate(returned.model_dump())
    except ValueError as exc:
        raise _bad_result(scorer, exc) from exc


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
