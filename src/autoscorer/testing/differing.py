"""Where two answers differ, in a sentence."""

from __future__ import annotations

from typing import Any

from autoscorer.schemas.result import Result
from autoscorer.testing.answers import told
from autoscorer.testing.trial import Answer
from autoscorer.utils.errors import AutoscorerError

PARTS = ("summary", "metrics", "versioning", "artifacts")


def difference(expected: Result, answer: Answer) -> str | None:
    """The first difference, None if there is none but the time of the scoring."""
    if isinstance(answer, AutoscorerError):
        return f"there is no result: {told(answer)}"
    one, other = expected.to_json(), answer.to_json()
    for part in PARTS:
        for name in sorted({*one[part], *other[part]}):
            if (part, name) != ("versioning", "timestamp"):
                before, after = one[part].get(name), other[part].get(name)
                if before != after:
                    return f"{part}.{name} is {_shown(after)} instead of {_shown(before)}"
    return None


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)[:200]
