"""What a scorer's process told and how it ended, judged: pure, and believing nothing it was told.

A scorer may forge what it sends. It can spoil its own score with it, and blame its own organiser's
data; no code it can send blames the platform, and no text it sends is larger than is decent.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from autoscorer.schemas.result import Result
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.child.birth import Ended, Stop
from autoscorer.scorers.invoke import DECLARED_CODES, returnable
from autoscorer.utils.errors import AutoscorerError

# What a scorer's process says of itself; each blames the organiser.
OWN_ERRORS = {
    "SCORE_ERROR": "",
    "SCORER_MEMORY": "",
    "SCORER_NO_RESULT": "",
    "SCORER_BAD_RESULT": "",
    "SCORER_NOT_FOUND": "unloadable",
    "CONFIG_VALIDATION_ERROR": "job_spec",  # its parameters
}
PLACE_KINDS: dict[str, type] = {"file": str, "missing": str, "line": int}
CAUSES = ("prediction", "reference")
MAX_MESSAGE_CHARS = 4000
MAX_DETAILS_CHARS = 16_384
MAX_FAULT_CHARS = 300
MAX_DEPTH = 64
MAX_CARDS = 100
MAX_CARDS_CHARS = 2**20


def judge(ended: Ended, *, name: str, time_limit_s: float, memory_bytes: int) -> dict[str, Any]:
    """What the scorer ``name`` answered, if it ended as it should.

    Raises AutoscorerError: why it did not, or the error it answered with.
    """
    more = {"output": ended.output_tail} if ended.output_tail else {}
    if ended.failure is not None:
        message = "The scorer's process could not be set up with its limits."
        raise AutoscorerError("EXEC_ERROR", message, {"reason": ended.failure})
    if ended.stopped is Stop.CLOSED:
        raise AutoscorerError("CANCELLED", f"{name} was stopped: the process that waits for it ends")
    if ended.oom_kills or ended.stopped is Stop.MEMORY_LIMIT:
        message = f"{name} used more than the {memory_bytes} bytes of memory it is allowed"
        raise AutoscorerError("SCORER_MEMORY", message, {"limit_bytes": memory_bytes, **more})
    if ended.stopped is Stop.TIME_LIMIT:
        message = f"{name} took longer than the {time_limit_s:g} s it is allowed"
        raise AutoscorerError("SCORER_TIMEOUT", message, {"limit_seconds": time_limit_s, **more})
    if ended.lost:
        raise AutoscorerError("SCORER_CRASH", f"the process of {name} and its keeper were killed", more)
    if ended.stopped is None and (ended.signal or ended.exit_code):
        raise AutoscorerError("SCORER_CRASH", f"the process of {name} {_death(ended)}", more)
    if ended.answer is None and ended.broken_answer:
        raise _bad(name, "it sent more than one answer, or one that is too large", more)
    if ended.answer is None:
        message = f"{name} ended its process without returning a result"
        raise AutoscorerError("SCORER_NO_RESULT", message, more)
    answer = _read(ended.answer, name, more)
    if "error" in answer:
        raise _told_error(answer["error"], name, more)
    return answer


def result_of(answer: Mapping[str, Any], name: str) -> Result:
    """The result in an answer, checked. Raises SCORER_BAD_RESULT."""
    try:
        return returnable(answer.get("result"))
    except ValueError as exc:
        told = (
            [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()[:20]]
            if isinstance(exc, ValidationError)
            else [str(exc)]
        )
        faults = [_shortened(text)[:MAX_FAULT_CHARS] for text in told]
        raise _bad(name, "; ".join(faults[:5])[:500], {"faults": faults}) from exc


def params_of(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The complete parameters in an answer. Raises SCORER_BAD_RESULT."""
    params = answer.get("params")
    if not isinstance(params, dict):
        raise _bad(name, "it sent no parameters", {})
    return params


def cards_of(answer: Mapping[str, Any], name: str, *, sha256: str, origin: str) -> list[ScorerCard]:
    """The cards in an answer, with the ``sha256`` and ``origin`` we know. Raises SCORER_NOT_FOUND."""
    given = answer.get("cards")
    try:
        if not isinstance(given, list) or len(given) > MAX_CARDS or len(json.dumps(given)) > MAX_CARDS_CHARS:
            raise ValueError("no list of cards of a decent size")
        return [
            ScorerCard.model_validate({**dict(card), "sha256": sha256, "origin": origin}) for card in given
        ]
    except (ValueError, TypeError) as exc:
        raise unloadable(f"{name} describes itself wrongly") from exc


def unloadable(message: str, details: Mapping[str, Any] | None = None) -> AutoscorerError:
    """SCORER_NOT_FOUND: the code is there, and cannot be used."""
    return AutoscorerError("SCORER_NOT_FOUND", message, details, cause="unloadable")


def _read(content: bytes, name: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """The answer's JSON: such that whoever writes it down again can."""
    try:
        answer = json.loads(content, parse_constant=_refuse_constant)
        if not isinstance(answer, dict) or _is_deeper(answer, MAX_DEPTH):
            raise ValueError("no flat object")
        # Text that is no Unicode cannot be stored, nor can 1e999, which is read as infinity.
        json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as exc:
        raise _bad(name, "its answer is no plain JSON object", more) from exc
    return answer


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and mappings stand in each other more than ``levels`` deep."""
    layer = [value]
    for _ in range(levels):
        inner = (each.values() if isinstance(each, dict) else each for each in layer)
        layer = [each for values in inner for each in values if isinstance(each, dict | list)]
        if not layer:
            return False
    return True


def _told_error(told: Any, name: str, more: Mapping[str, Any]) -> AutoscorerError:
    """The error a scorer answered with, as far as it may be believed."""
    shape = (str, str, str, dict)
    if not (isinstance(told, list) and [type(part) for part in told] == list(shape)):
        return _bad(name, "its answer is neither a result nor an error", more)
    code, cause, message, details = told
    message, details = _shortened(message), _bounded(_typed(details))
    if code in DECLARED_CODES and cause in CAUSES:
        return AutoscorerError(code, message, details, cause=cause)
    if code in OWN_ERRORS:
        return AutoscorerError(code, message, {**details, **more}, cause=OWN_ERRORS[code])
    return AutoscorerError("SCORE_ERROR", message, {**details, "raised": code[:100], **more})


def _shortened(text: str) -> str:
    clean = "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)
    return clean if len(clean) <= MAX_MESSAGE_CHARS else clean[: MAX_MESSAGE_CHARS - 1] + "…"


def _typed(details: dict[str, Any]) -> dict[str, Any]:
    """``details`` without a place in the code that is none: it is read on as a name and a number."""
    return {
        key: value
        for key, value in details.items()
        if key not in PLACE_KINDS or (type(value) is PLACE_KINDS[key] and len(str(value)) <= MAX_FAULT_CHARS)
    }


def _bounded(details: dict[str, Any]) -> dict[str, Any]:
    small = len(json.dumps(details)) <= MAX_DETAILS_CHARS
    return details if small else {"left_out": "the details were too large"}


def _bad(name: str, why: str, more: Mapping[str, Any]) -> AutoscorerError:
    return AutoscorerError("SCORER_BAD_RESULT", f"the result of {name} is not valid: {why}", more)


def _death(ended: Ended) -> str:
    number = ended.signal or (ended.exit_code or 0) - 128
    try:
        return f"died of {signal.Signals(number).name}"
    except ValueError:
        return f"ended with exit code {ended.exit_code}"
