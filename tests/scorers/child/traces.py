"""What a score could leave behind in the platform's process and on its machine."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import psutil

from autoscorer.confine.cgroups import PREFIX, own_homes

SETTLE_S = 20.0  # for what ends; keepers that wait are made anew when something is mounted


@dataclass(frozen=True)
class Traces:
    """Counts and names, as they are now."""

    descriptors: int
    threads: int
    processes: frozenset[int]
    folders: frozenset[str]
    cgroups: frozenset[str]
    mounts: frozenset[str]

    def left_since(self, before: Traces) -> list[str]:
        """What is there now and was not, a line each."""
        left = []
        for name in (each.name for each in fields(self)):
            now, then = getattr(self, name), getattr(before, name)
            if isinstance(now, frozenset):
                left += [f"{name}: {thing}" for thing in sorted(now - then, key=str)]
            elif now > then:
                left.append(f"{name}: {now}, were {then}")
        return left


def left_since(before: Traces, waiting: Callable[[], frozenset[int]] = frozenset) -> list[str]:
    """`Traces.left_since` once an ending process has had its second to be gone.

    ``waiting`` are processes that wait for the next score, which are no rest of the last.
    """
    deadline = time.monotonic() + SETTLE_S
    while (left := _but(waiting(), traces()).left_since(before)) and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    return left


def _but(waiting: frozenset[int], found: Traces) -> Traces:
    return replace(found, processes=found.processes - waiting)


def traces() -> Traces:
    own = psutil.Process()
    mountinfo = Path("/proc/self/mountinfo").read_text()
    mine = f"{PREFIX}-n*-{os.getpid()}-*"
    return Traces(
        descriptors=own.num_fds(),
        threads=threading.active_count(),
        processes=frozenset(child.pid for child in own.children(recursive=True)) | _orphans(),
        folders=frozenset(os.listdir(tempfile.gettempdir())),
        cgroups=frozenset(
            str(path) for home in own_homes() for path in home.directory.glob(mine) if path.is_dir()
        ),
        mounts=frozenset(line for line in mountinfo.splitlines() if tempfile.gettempdir() in line),
    )


def _orphans() -> frozenset[int]:
    """Forks of a zygote that nobody waits for."""
    found = set()
    for process in psutil.process_iter(["ppid", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.info["ppid"] == 1 and any(word.endswith("child/zygote.py") for word in words):
            found.add(process.pid)
    return frozenset(found)
