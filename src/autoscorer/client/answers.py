"""What a service answered, read: the data of its envelope, or the error that it is. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeGuard, TypeVar

from pydantic import BaseModel, ValidationError

from autoscorer.utils.errors import AutoscorerError, Blame, CodeRow, Stage, find_code

View = TypeVar("View", bound=BaseModel)
_TEXTS = ("en", "zh")
_OF_THE_TABLE = ("blame", "retryable", "hint", "cause")


def read_answer(status: int, content: bytes, headers: Mapping[str, str], *, where: str) -> dict[str, Any]:
    """The ``data`` of a good answer.

    Raises the answer's error, with the service's code, cause and blame; SERVICE_UNREACHABLE for an answer
    that no AutoScorer gives, such as one of a proxy before it. ``where`` is the address that was asked.
    """
    envelope = _envelope(content)
    if envelope is None:
        raise _strange(status, headers, where)
    if envelope["ok"] is True and status < 400:
        data = envelope["data"]
        if not isinstance(data, dict):
            raise _strange(status, headers, where)
        return data
    raise _failure(envelope, status, headers, where)


def read_view(kind: type[View], value: Any, *, where: str) -> View:
    """``value`` as a wire type; keys that a newer service has added are passed over.

    Raises SERVICE_UNREACHABLE for anything else: the other side speaks another language than we.
    """
    known = {key: item for key, item in value.items() if key in kind.model_fields} if _is_map(value) else {}
    try:
        return kind.model_validate(known)
    except ValidationError as exc:
        first = exc.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the answer"
        message = (
            f"{where} answered with no {kind.__name__} ({field}: {first['msg']}); "
            "its version of AutoScorer does not go with this one"
        )
        raise AutoscorerError("SERVICE_UNREACHABLE", message, {"reached": True}) from exc


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long the service asks to wait, if it says so in seconds."""
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 7 else None


def _envelope(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if _is_map(value) and isinstance(value.get("ok"), bool) and "data" in value else None


def read_failure(body: Any, more: Mapping[str, Any] | None = None) -> AutoscorerError | None:
    """The error that a service has put into words, ``more`` added to its details; None if it is none."""
    if not _is_map(body) or not all(isinstance(body.get(key), str) for key in ("code", "message")):
        return None
    told = body.get("details")
    details = dict(told) if _is_map(told) else {}
    row = _row(body, details)
    known = {key: value for key, value in details.items() if key not in _OF_THE_TABLE}
    error = AutoscorerError(body["code"], body["message"], {**known, **(more or {})}, stage=str(row.stage))
    error.row, error.cause = row, row.cause
    return error


def _failure(
    envelope: Mapping[str, Any], status: int, headers: Mapping[str, str], where: str
) -> AutoscorerError:
    more: dict[str, Any] = {"http_status": status}
    meta = envelope.get("meta")
    if _is_map(meta) and isinstance(meta.get("request_id"), str):
        more["request_id"] = meta["request_id"]
    if (wait_s := retry_after_s(headers)) is not None:
        more["retry_after_s"] = wait_s
    if _is_map(envelope["data"]) and envelope["data"]:
        more["data"] = envelope["data"]
    return read_failure(envelope.get("error"), more) or _strange(status, headers, where)


def _row(body: Mapping[str, Any], details: Mapping[str, Any]) -> CodeRow:
    """The row of our table, else what the service says of a code that is not in it."""
    cause = details.get("cause")
    cause = cause if isinstance(cause, str) else ""
    known = find_code(body["code"], cause)
    if known is not None and known.cause == cause:
        return known
    hint = details.get("hint")
    hints = {lang: str(hint.get(lang, "")) if _is_map(hint) else "" for lang in _TEXTS}
    return CodeRow(
        code=body["code"],
        cause=cause,
        stage=_one_of(Stage, body.get("stage"), Stage.API),
        blame=_one_of(Blame, details.get("blame"), Blame.PLATFORM),
        retryable=details.get("retryable") is True,
        meaning_en=body["message"],
        meaning_zh=body["message"],
        hint_en=hints["en"],
        hint_zh=hints["zh"],
    )


def _one_of(kind: Any, text: Any, default: Any) -> Any:
    return kind(text) if text in list(kind) else default


def _strange(status: int, headers: Mapping[str, str], where: str) -> AutoscorerError:
    """An answer that no AutoScorer gives."""
    target = headers.get("location")
    what = f"status {status}" + (f", a redirect to {target}" if target and 300 <= status < 400 else "")
    message = f"{where} answered ({what}), but not as AutoScorer does; is that the address of the service?"
    details: dict[str, Any] = {"http_status": status, "reached": True}
    if (wait_s := retry_after_s(headers)) is not None:
        details["retry_after_s"] = wait_s
    return AutoscorerError("SERVICE_UNREACHABLE", message, details)


def _is_map(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
