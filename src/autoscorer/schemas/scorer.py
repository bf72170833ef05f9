"""What is known of a scorer without running it: the card that lists, jobs and results go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_FILE_NAME_BYTES = 200
Origin = Literal["builtin", "stored", "entry_point", "process"]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A tiny data set that a scorer brings along, and what it scores there.

    ``reference`` and ``predictions`` are the texts of the files below `reference/` and `output/`, by name;
    ``metrics`` are the expected ones, as many as you like, checked within 1e-9. ``perfect`` is only needed
    where a copy of the truth is no prediction (probabilities, rankings): the best predictions there are.
    """

    reference: Mapping[str, str]
    predictions: Mapping[str, str]
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    perfect: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a name that is no file below the folder: it is the author's text."""
        for files in (self.reference, self.predictions, self.perfect or {}):
            for name, text in dict(files).items():
                if not isinstance(name, str) or not _is_file_name(name) or not isinstance(text, str):
                    raise ValueError(f"an Example holds texts by file name, such as gt.csv, not {name!r}")


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
    example: Example | None = None

    @field_validator("reference_files", "prediction_files")
    @classmethod
    def _are_bare_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """We link and hash files under these names, so none may lead elsewhere; a card is its author's."""
        for name in names:
            is_short = len(name.encode(errors="replace")) <= MAX_FILE_NAME_BYTES
            if not is_short or "/" in name or not _is_file_name(name):
                raise ValueError(f"names plain files, such as gt.csv, not {name[:80]!r}")
        return names

    @property
    def pin(self) -> str:
        """``name@sha256``: what a job names when it wants exactly this code."""
        return f"{self.name}@{self.sha256}"


def _is_file_name(name: str) -> bool:
    """Whether ``name`` is a relative path in its plain form: nothing leads out of the folder."""
    plain = name.isprintable() and "\\" not in name and str(PurePosixPath(name)) == name
    return plain and name != "." and not name.startswith("/") and ".." not in name.split("/")
