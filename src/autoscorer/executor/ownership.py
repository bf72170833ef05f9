"""Whose attempt it is: a process told apart from every other, before or after it, in any namespace."""

from __future__ import annotations

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
    """

    space: str
    pid: int
    started_ticks: int

    @classmethod
    def this_process(cls) -> Owner:
        return cls(space=_space(), pid=os.getpid(), started_ticks=_started_ticks(os.getpid()) or 0)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The owner that ``str`` wrote; None for any other text."""
        match text.split("/"):
            case [space, pid, ticks] if pid.isdecimal() and ticks.isdecimal():
                return cls(space=space, pid=int(pid), started_ticks=int(ticks))
        return None

    def __str__(self) -> str:
        return f"{self.space}/{self.pid}/{self.started_ticks}"


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


def _space() -> str:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{_machine()}:{boot_id}:{Path('/proc/self/ns/pid').stat().st_ino}"


def _machine() -> str:
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
