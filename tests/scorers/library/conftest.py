"""A store of its own for each test, and the faults of reloading as `scripts/reliability` counts them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from autoscorer.scorers.library import Library
from tests.attacks.record import Record
from tests.scorers.library.sources import RESERVED, check_here, scorer_text, write

GROUP = "Scorers reloaded"
Fault = Callable[..., Record]


class Jobs:
    """What jobs need, as the store would say it, and what it was asked."""

    def __init__(self) -> None:
        self.pins: set[str] = set()
        self.asked: list[set[str]] = []

    def __call__(self, pins: Collection[str]) -> set[str]:
        self.asked.append(set(pins))
        return self.pins & set(pins)


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def library(tmp_path: Path, jobs: Jobs) -> Library:
    return Library(tmp_path / "data", check_here, reserved=lambda: RESERVED, needed=jobs)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write(tmp_path / "scorers" / "mine.py", scorer_text())


@pytest.fixture
def fault(record_property: Callable[[str, object], None]) -> Fault:
    """Begin a fault by name; its control is the same file, mended, or the same question without our guard."""

    def begin(
        name: str, *, expected: Sequence[str | None] = ("SCORER_NOT_FOUND",), controlled: bool = True
    ) -> Record:
        record = Record(record_property)
        record.tried(GROUP, name, expected=expected, blame="organiser")
        if controlled:
            record.control(GROUP, name)
        return record

    return begin


def staged(tmp_path: Path) -> list[str]:
    """What loads have left lying about."""
    return [path.name for path in (tmp_path / "data" / "scorers" / "staging").iterdir()]
