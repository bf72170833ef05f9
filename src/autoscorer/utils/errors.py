"""The error model: one exception, one standard shape, one table of codes.

    AutoscorerError          what every stage raises; carries code, message, details, cause
    make_error(...)          the standard error as a plain dict (results, CLI, callbacks)
    find_code(code, cause)   the table's row: stage, blame, retryable, meaning and hint (en, zh)

The table itself is data: ``error_codes.toml`` beside this file.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Stage(StrEnum):
    """Where in a job's life an error arose. ``run`` and ``score`` are accepted as verbs."""

    VALIDATION = "validation"
    EXECUTION = "execution"
    SCORING = "scoring"
    CONFIG = "config"
    API = "api"
    QUEUE = "queue"

    @classmethod
    def of(cls, name: str) -> Stage:
        """The stage called ``name``; raises ValueError for a name that is neither stage nor verb."""
        return cls({"run": "execution", "score": "scoring", "validate": "validation"}.get(name, name))


class Blame(StrEnum):
    """Who has to act before the same job can succeed."""

    PARTICIPANT = "participant"
    ORGANISER = "organiser"
    OPERATOR = "operator"
    PLATFORM = "platform"
    NOBODY = "nobody"


@dataclass(frozen=True, kw_only=True)
class CodeRow:
    """One (code, cause) of the table. ``cause`` is empty where a code has only one."""

    code: str
    cause: str
    stage: Stage
    blame: Blame
    retryable: bool
    meaning_en: str
    meaning_zh: str
    hint_en: str
    hint_zh: str


@functools.cache
def code_table() -> tuple[CodeRow, ...]:
    """All rows in the order of the file."""
    import tomllib

    text = Path(__file__).with_name("error_codes.toml").read_text(encoding="utf-8")
    return tuple(
        CodeRow(
            code=row["code"],
            cause=row.get("cause", ""),
            stage=Stage(row["stage"]),
            blame=Blame(row["blame"]),
            retryable=row.get("retryable", False),
            meaning_en=row["meaning_en"],
            meaning_zh=row["meaning_zh"],
            hint_en=row["hint_en"],
            hint_zh=row["hint_zh"],
        )
        for row in tomllib.loads(text)["row"]
    )


def find_code(code: str, cause: str = "") -> CodeRow | None:
    """The row for ``(code, cause)``; without such a cause the code's first row; None if unknown."""
    rows = [row for row in code_table() if row.code == code]
    return next((row for row in rows if row.cause == cause), rows[0] if rows else None)


class AutoscorerError(Exception):
    """What every stage raises.

    ``code`` is a name of the table; ``cause`` picks the row where a code has several
    (``AutoscorerError("PARSE_ERROR", "…", cause="reference")`` blames the organiser).
    ``details`` is JSON-ready and free of secrets. ``stage`` is the table's unless given.
    """

    def __init__(
        self,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        cause: str = "",
        stage: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        self.row = find_code(code, cause)
        if cause and self.row and self.row.cause and self.row.cause != cause:
            raise ValueError(f"{code} has no cause {str(cause)!r}")  # a slip here would blame the wrong side
        self.cause = self.row.cause if self.row else cause
        self.stage = Stage.of(stage) if stage else (self.row.stage if self.row else Stage.SCORING)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    @property
    def blame(self) -> Blame:
        return self.row.blame if self.row else Blame.ORGANISER

    @property
    def retryable(self) -> bool:
        return self.row.retryable if self.row else False

    def to_dict(self, logs_path: str | Path | None = None) -> dict[str, Any]:
        """The standard error (SPEC E1); blame, cause and hints stand in ``details``."""
        return make_error(
            self.stage, self.code, self.message, {**self.details, "cause": self.cause or None}, logs_path
        )


def read_error(error: Mapping[str, Any]) -> AutoscorerError:
    """The error that `make_error` wrote. Raises ValueError for anything else."""
    details = error.get("details", {})
    texts = [error.get("code"), error.get("message"), error.get("stage")]
    if error.get("ok") is not False or not isinstance(details, dict):
        raise ValueError("is no standard error")
    if not all(isinstance(text, str) for text in (*texts, details.get("cause", ""))):
        raise ValueError("is no standard error")
    given = {key: value for key, value in details.items() if key != "cause"}
    cause = details.get("cause", "")
    return AutoscorerError(error["code"], error["message"], given, cause=cause, stage=error["stage"])


def make_error(
    stage: str,
    code: str,
    message: str,
    details: Mapping[str, Any] | None = None,
    logs_path: str | Path | None = None,
) -> dict[str, Any]:
    """The standard error: ``{ok: false, stage, code, message, details?, logs?}``.

    ``details`` gains ``blame``, ``retryable`` and ``hint`` (en, zh) for a code of the table,
    and never keeps others.
    Raises ValueError for an unknown stage.
    """
    given = {key: value for key, value in (details or {}).items() if value is not None}
    row = find_code(code, given.get("cause", ""))
    for key in ("blame", "retryable", "hint"):
        given.pop(key, None)  # details may be a scorer's word; whom a fault blames is the table's
    if row is not None:
        given["blame"] = str(row.blame)
        given["retryable"] = row.retryable
        given["hint"] = {"en": row.hint_en, "zh": row.hint_zh}
    error: dict[str, Any] = {"ok": False, "stage": str(Stage.of(stage)), "code": code, "message": message}
    if given:
        error["details"] = given
    if logs_path is not None:
        error["logs"] = str(logs_path)
    return error


def disk_full(exc: BaseException) -> AutoscorerError | None:
    """The error that a full disk is; None for any other fault."""
    if not isinstance(exc, OSError) or exc.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    message = "the disk of the workspace, or of the platform's data, is full"
    return AutoscorerError("RESOURCE_UNAVAILABLE", message, cause="disk")
