"""Scorer files for tests of the store, and a store that checks them in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.host import Code
from autoscorer.scorers.library import Library
from autoscorer.scorers.loading import describe
from autoscorer.utils.errors import AutoscorerError

RESERVED = {"classification_f1": "a built-in scorer", "classification_acc": "a built-in scorer"}


def scorer_text(name: str = "mine", *, version: str = "1", value: float = 0.5, aliases: str = "()") -> str:
    """A whole scorer that always gives ``value``."""
    return f'''from autoscorer import BaseScorer, Result, register


@register("{name}", aliases={aliases})
class Mine(BaseScorer):
    name = "{name}"
    version = "{version}"

    def score(self, workspace, params):
        return Result(summary={{"score": {value}}}, metrics={{"m": {value}}}, versioning=self._versioning())
'''


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def check_here(code: Code, sha256: str) -> list[ScorerCard]:
    """The check of these tests: their scorers are trusted, so this process imports them."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return describe(code, sha256)
    finally:
        sys.dont_write_bytecode = before
        for name in [
            name for name in sys.modules if name.partition(".")[0] in ("pack", "autoscorer_scorer_mine")
        ]:
            del sys.modules[name]


def refusal(library: Library, path: Path) -> AutoscorerError:
    with pytest.raises(AutoscorerError) as caught:
        library.load(path)
    assert caught.value.code == "SCORER_NOT_FOUND"
    return caught.value
