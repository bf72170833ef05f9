"""The result of one scoring: what a scorer returns and `result.json` holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, Strict, field_validator

FiniteFloat = Annotated[float, Strict(), AllowInfNan(allow_inf_nan=False)]
REQUIRED_VERSIONING = ("scorer", "version", "timestamp")


class Artifact(BaseModel):
    """A file that belongs to a result. ``path`` is relative to ``output/``; ``size`` is in bytes.

    ``shows_truth``: whoever has the predictions can read from it what is true of single rows. A table
    that was cut holds ``rows`` of ``rows_in_all``.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    path: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    shows_truth: Annotated[bool, Strict()] = True
    media_type: str = "application/octet-stream"
    rows: int | None = Field(default=None, ge=0)
    rows_in_all: int | None = Field(default=None, ge=0)


class Result(BaseModel):
    """What a scorer returns. All numbers are finite; an undefined metric is left out, never NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    summary: dict[str, FiniteFloat | Annotated[bool, Strict()] | Annotated[str, Strict()]]
    metrics: dict[str, FiniteFloat]
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    timing: dict[str, FiniteFloat] = Field(default_factory=dict)
    resources: dict[str, FiniteFloat | Annotated[int, Strict()]] = Field(default_factory=dict)
    versioning: dict[str, Annotated[str, Strict()]]
    error: dict[str, Any] | None = None

    @field_validator("versioning")
    @classmethod
    def _names_the_scorer(cls, value: dict[str, str]) -> dict[str, str]:
        missing = [key for key in REQUIRED_VERSIONING if not value.get(key)]
        if missing:
            raise ValueError(f"lacks {', '.join(missing)}")
        return value

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; ``error`` is left out when there is none."""
        return self.model_dump(mode="json", exclude_none=True)


def canonical_json(value: Any) -> str:
    """One text for one value: keys sorted, no spaces, no NaN; UTF-8 characters as they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def score_digest(
    result: Result, *, scorer: str, scorer_sha256: str, params: Mapping[str, Any], reference_sha256: str
) -> str:
    """SHA-256 (hex) over what makes two scores the same score.

    Covers summary, metrics, scorer, parameters and reference; not the predictions' bytes, the
    backend, image, isolation, ids or times.
    """
    text = canonical_json(
        {
            "summary": result.summary,
            "metrics": result.metrics,
            "scorer": scorer,
            "scorer_sha256": scorer_sha256,
            "params": dict(params),
            "reference_sha256": reference_sha256,
        }
    )
    return hashlib.sha256(text.encode()).hexdigest()
