"""The one clock of a store: an instant has a date for people and a count of seconds for leases."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

_LINE_BYTES = 128


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """A moment on the leases' clock. ``era`` names what the seconds count from."""

    era: str
    elapsed_s: float

    def passed(self, now: Instant | Deadline) -> bool:
        """Whether it lies behind ``now``; one of another era does: that machine has restarted since."""
        return self.era != now.era or self.elapsed_s <= now.elapsed_s


@dataclass(frozen=True, kw_only=True)
class Instant:
    """Now. ``at`` is shown and never decides a lease; ``elapsed_s`` of an ``era`` does."""

    at: datetime
    era: str
    elapsed_s: float

    def plus(self, seconds: float) -> Deadline:
        return Deadline(era=self.era, elapsed_s=self.elapsed_s + seconds)

    @classmethod
    def of_server(cls, epoch_s: float) -> Self:
        """A database server's time, the same for all who ask it."""
        return cls(at=datetime.fromtimestamp(epoch_s, UTC), era="server", elapsed_s=epoch_s)


Clock = Callable[[], Instant]


def kernel_clock() -> Instant:
    """This machine's time since it started, read from the kernel.

    Read as a file because then no process has a clock of its own: neither a changed date nor libfaketime,
    which replaces a process's `clock_gettime`, moves it. All processes of one machine see the same.
    """
    descriptor = os.open("/proc/uptime", os.O_RDONLY | os.O_CLOEXEC)
    try:  # as a text file it is seven system calls, four times a job
        uptime_s = float(os.read(descriptor, _LINE_BYTES).split()[0])
    finally:
        os.close(descriptor)
    return Instant(at=datetime.now(UTC), era=_boot_id(), elapsed_s=uptime_s)


@functools.cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
