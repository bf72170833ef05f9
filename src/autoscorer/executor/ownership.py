"""Whose attempt it is: a process told apart from every other, before or after it, in any namespace."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_START_FIELD = 19  # of /proc/PID/stat, counted after the name in brackets


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process that runs attempts. A pid alone is given out again; with its start time it is not.

    ``space`` is where the pid counts: a machine, since its last start, and a pid namespace there.
    ``lease`` is the right under which it runs the attempt, if it has one: it may lose it and live on.
    """

    space: str
    pid: int
    started_ticks: int
    lease: str = ""

    @classmethod
    def this_process(cls, lease: str = "") -> Owner:
        ticks = _started_ticks(os.getpid()) or 0
        return cls(space=_space(), pid=os.getpid(), started_ticks=ticks, lease=lease)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The owner that ``str`` wrote; None for any other text."""
        match text.split("/", maxsplit=3):
            case [space, pid, ticks, *lease] if pid.isdecimal() and ticks.isdecimal():
                return cls(space=space, pid=int(pid), started_ticks=int(ticks), lease="".join(lease))
        return None

    @classmethod
    def of_process(cls, pid: int) -> Owner | None:
        """Another process of this machine, as it is now; None if it has ended."""
        ticks = _started_ticks(pid)
        return None if ticks is None else cls(space=_space(), pid=pid, started_ticks=ticks)

    def __str__(self) -> str:
        process = f"{self.space}/{self.pid}/{self.started_ticks}"
        return f"{process}/{self.lease}" if self.lease else process


def process_is_alive(owner: Owner) -> bool:
    """Whether it still runs. What cannot be seen from here (another machine, another pid namespace)
    counts as alive; after a restart of this machine nothing of before does.
    """
    machine, _, since = owner.space.partition(":")
    here, _, here_since = _space().partition(":")
    if machine != here:
        return True
    boot, _, namespace = since.partition(":")
    here_boot, _, here_namespace = here_since.partition(":")
    if boot != here_boot:
        return False
    return namespace != here_namespace or _started_ticks(owner.pid) == owner.started_ticks


def is_of_this_machine(owner: Owner) -> bool:
    """Whether it runs, or ran, here."""
    return owner.space.partition(":")[0] == this_machine()


@functools.cache  # no process leaves its machine or its pid namespace
def _space() -> str:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{this_machine()}:{boot_id}:{Path('/proc/self/ns/pid').stat().st_ino}"


def this_machine() -> str:
    """A short token for this machine that gives away neither its name nor its id."""
    try:
        machine_id = Path("/etc/machine-id").read_text(encoding="ascii")
    except OSError:
        machine_id = ""
    return hashlib.sha256(f"{machine_id}{os.uname().nodename}".encode()).hexdigest()[:12]


def _started_ticks(pid: int) -> int | None:
    """When it started, in clock ticks since boot; None if there is no such process or only its zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[_START_FIELD])
