"""A clock that tests move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from autoscorer.store.clock import Instant


class MovableClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.elapsed_s = 1000.0
        self.era = "test"

    def __call__(self) -> Instant:
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed_s)
        return Instant(at=at, era=self.era, elapsed_s=self.elapsed_s)

    def forward(self, seconds: float) -> None:
        self.elapsed_s += seconds

    def restart_machine(self) -> None:
        """Seconds count from nought again, as they do after a reboot."""
        self.era, self.elapsed_s = f"{self.era}+", 5.0
