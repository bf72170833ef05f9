"""The one answer shape of CLI, API and callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from autoscorer.utils.errors import AutoscorerError


class Warning_(BaseModel):  # noqa: N801 - the builtin is called Warning
    """Something the reader should know although nothing failed."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str


class Meta(BaseModel):
    """``timestamp`` ISO 8601 UTC, ``execution_time`` in seconds, ``version`` of AutoScorer."""

    model_config = ConfigDict(frozen=True, extra="allow")

    timestamp: str
    execution_time: float
    version: str
    warnings: list[Warning_] = []


class ErrorBody(BaseModel):
    """The error of an answer; ``details`` holds blame, hint and the particulars."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    stage: str
    details: dict[str, Any] = {}


class Envelope(BaseModel):
    """``ok`` and ``status`` say the same; ``data`` may stand beside an error (partial facts)."""

    model_config = ConfigDict(frozen=True)

    ok: bool
    status: Literal["success", "error"]
    data: dict[str, Any]
    error: ErrorBody | None
    meta: Meta


def iso(at: datetime) -> str:
    """An aware time as ISO 8601 UTC with ``Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_now() -> str:
    """Now, as ISO 8601 UTC with ``Z``."""
    return iso(datetime.now(UTC))


def make_envelope(
    *,
    data: dict[str, Any] | None = None,
    error: AutoscorerError | None = None,
    execution_time_s: float,
    version: str,
    warnings: Sequence[Warning_] = (),
) -> Envelope:
    """The answer: an error makes it fail, anything else succeeds."""
    body = None
    if error is not None:
        standard = error.to_dict()
        body = ErrorBody(
            code=error.code,
            message=error.message,
            stage=standard["stage"],
            details=standard.get("details", {}),
        )
    return Envelope(
        ok=error is None,
        status="success" if error is None else "error",
        data=data or {},
        error=body,
        meta=Meta(
            timestamp=iso_now(),
            execution_time=round(execution_time_s, 6),
            version=version,
            warnings=list(warnings),
        ),
    )
