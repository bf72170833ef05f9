"""Workspaces with two tables, for the scorers that read tables."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autoscorer.schemas.result import Result
from autoscorer.scorers.registry import get_scorer


def table(rows: Iterable[tuple[object, object]]) -> str:
    """CSV text with the columns id and label."""
    return "id,label\n" + "".join(f"{name},{value}\n" for name, value in rows)


def workspace(folder: Path, reference: str, prediction: str) -> Path:
    """A workspace below ``folder`` that holds these two CSV texts."""
    root = Path(tempfile.mkdtemp(dir=folder))
    for name, text in (("reference/gt.csv", reference), ("output/pred.csv", prediction)):
        (root / name).parent.mkdir()
        (root / name).write_text(text, encoding="utf-8", newline="")
    return root


def score(folder: Path, scorer: str, reference: str, prediction: str) -> Result:
    """What the registered scorer says of the two texts."""
    return get_scorer(scorer).score(workspace(folder, reference, prediction), {})


def facts(result: Result) -> dict[str, Any]:
    """Everything of a result but the time at which it was made."""
    found = result.to_json()
    found["versioning"].pop("timestamp")
    return found
