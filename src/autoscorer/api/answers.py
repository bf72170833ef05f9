"""Every answer of the API: one envelope, and the HTTP status that each code has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel
from starlette.responses import Response

from autoscorer import __version__
from autoscorer.api.current import current
from autoscorer.schemas.envelope import ErrorBody, Meta, Warning_, make_envelope
from autoscorer.utils.errors import AutoscorerError

Data = TypeVar("Data")

# By code, or by `CODE.cause` where a cause differs. What a job failed of is 422 when those who made the job
# have to act, 5xx when those who run the service have.
STATUS: Mapping[str, int] = {
    "BAD_REQUEST": 400,
    "BAD_REQUEST.host": 403,
    "BAD_REQUEST.media_type": 415,
    "BAD_REQUEST.method": 405,
    "BAD_REQUEST.range": 416,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "CONFLICT": 409,
    "WORKSPACE_BUSY": 409,
    "CANCELLED": 409,
    "TOO_LARGE": 413,
    "RATE_LIMITED": 429,
    "ARCHIVE_INVALID": 422,
    "CONFIG_VALIDATION_ERROR": 422,
    "CONFIG_VALIDATION_ERROR.configuration": 500,
    "LIMIT_EXCEEDED": 422,
    "IMAGE_NOT_PRESENT": 422,
    "IMAGE_INVALID": 422,
    "IMAGE_PULL_FAILED": 422,
    "IMAGE_PULL_FAILED.network": 502,
    "CONTAINER_EXIT_NONZERO": 422,
    "TIME_LIMIT": 422,
    "MEMORY_LIMIT": 422,
    "OUTPUT_LIMIT": 422,
    "OUTPUT_INVALID": 422,
    "MISSING_FILE": 422,
    "PARSE_ERROR": 422,
    "BAD_FORMAT": 422,
    "SCORER_NOT_FOUND": 422,
    "SCORE_ERROR": 422,
    "SCORER_TIMEOUT": 422,
    "SCORER_MEMORY": 422,
    "SCORER_CRASH": 422,
    "SCORER_NO_RESULT": 422,
    "SCORER_BAD_RESULT": 422,
    "CONTAINER_CREATE_FAILED": 500,
    "CONTAINER_WAIT_FAILED": 500,
    "EXEC_ERROR": 500,
    "WORKER_STOPPED": 500,
    "WORKER_LOST": 500,
    "ATTEMPTS_EXHAUSTED": 500,
    "INTERNAL_ERROR": 500,
    "SERVICE_UNREACHABLE": 502,
    "RESOURCE_UNAVAILABLE": 503,
    "STORE_UNAVAILABLE": 503,
}
_HEADERS: Mapping[str, Mapping[str, str]] = {  # by the same keys
    "UNAUTHENTICATED": {"WWW-Authenticate": "Bearer"},
    "STORE_UNAVAILABLE": {"Retry-After": "5"},
    "RESOURCE_UNAVAILABLE.workspace": {"Retry-After": "5"},
}


class Answer(BaseModel, Generic[Data]):
    """A good answer, as OpenAPI shows it."""

    ok: Literal[True]
    status: Literal["success"]
    data: Data
    error: None
    meta: Meta


class Refusal(BaseModel):
    """An answer with an error, as OpenAPI shows it; ``data`` may hold what is known all the same."""

    ok: Literal[False]
    status: Literal["error"]
    data: dict[str, Any]
    error: ErrorBody
    meta: Meta


def status_of(error: AutoscorerError) -> int:
    """The HTTP status of an error's code; 500 for a code of a scorer's own making."""
    return STATUS.get(f"{error.code}.{error.cause}", STATUS.get(error.code, 500))


def answer(
    data: BaseModel | Mapping[str, Any],
    *,
    status: int = 200,
    warnings: Sequence[Warning_] = (),
    headers: Mapping[str, str] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Response:
    """``data`` in the envelope; ``meta`` stands beside the usual facts."""
    plain = data.model_dump(mode="json") if isinstance(data, BaseModel) else dict(data)
    return _response(plain, None, status=status, warnings=warnings, headers=headers, meta=meta)


def refusal(
    error: AutoscorerError,
    *,
    data: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Response:
    """``error`` in the envelope, with the status of its code."""
    usual = _HEADERS.get(f"{error.code}.{error.cause}", _HEADERS.get(error.code, {}))
    all_headers = {**usual, **(headers or {})}
    status = status_of(error)
    return _response(dict(data or {}), error, status=status, warnings=(), headers=all_headers, meta=meta)


def _response(
    data: dict[str, Any],
    error: AutoscorerError | None,
    *,
    status: int,
    warnings: Sequence[Warning_],
    headers: Mapping[str, str] | None,
    meta: Mapping[str, Any] | None,
) -> Response:
    request = current()
    envelope = make_envelope(
        data=data, error=error, execution_time_s=request.elapsed_s, version=__version__, warnings=warnings
    ).model_dump(mode="json")
    envelope["meta"] |= {"request_id": request.request_id, **(meta or {})}
    text = json.dumps(envelope, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Half a surrogate pair, from the name of a file, is no UTF-8.
    content = text.encode("utf-8", "replace")
    return Response(content, status_code=status, headers=dict(headers or {}), media_type="application/json")
