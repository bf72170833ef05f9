"""A store of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscorer.scorers.library import Library
from tests.scorers.library.sources import RESERVED, check_here, scorer_text, write


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "data", check_here, reserved=lambda: RESERVED)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write(tmp_path / "scorers" / "mine.py", scorer_text())
