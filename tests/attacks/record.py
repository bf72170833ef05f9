"""What a test tells `scripts/reliability` in pytest's JUnit report: what was tried, what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """Properties of one test. An attack counts as contained only when its test says so at its end."""

    note: Callable[[str, object], None]

    def tried(self, group: str, attack: str, *, expected: Sequence[str | None] = (), blame: str = "") -> None:
        self.note("tried", attack)
        self.note("group", group)
        self.note("expected", " or ".join(code or "success" for code in expected))
        self.note("blame", blame if any(expected) else "")

    def left(self, things: Sequence[str]) -> None:
        self.note("left", len(things))

    def contained(self) -> None:
        self.note("contained", "yes")

    def control(self, group: str, attack: str) -> None:
        self.note("control", attack)
        self.note("group", group)

    def worked(self) -> None:
        self.note("worked", "yes")
