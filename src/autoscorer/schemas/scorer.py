"""What is known of a scorer without running it: the card that lists, jobs and results go by."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Origin = Literal["builtin", "stored", "entry_point", "process"]


class ScorerCard(BaseModel):
    """What a scorer says of itself, and the content it is. What it does not declare is None.

    ``sha256`` is the SHA-256 (hex) of its code; ``origin`` is where that code comes from:
    AutoScorer itself, the content store, an installed package, or the calling process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    origin: Origin
    aliases: tuple[str, ...] = ()
    task: str | None = None
    primary_metric: str | None = None
    higher_is_better: bool | None = None
    score_range: tuple[float | None, float | None] | None = None
    params_schema: dict[str, Any] | None = None
    reference_files: tuple[str, ...] = ("gt.csv", "gt.json")
    prediction_files: tuple[str, ...] = ("pred.csv", "pred.json")

    @property
    def pin(self) -> str:
        """``name@sha256``: what a job names when it wants exactly this code."""
        return f"{self.name}@{self.sha256}"
