"""What one tree of processes may use, and the part of it that resource limits enforce."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

OPEN_FILES = 4096
TASKS_SLACK = 16  # the sandbox's own processes, and what the same user starts meanwhile


@dataclass(frozen=True, kw_only=True)
class Caps:
    """None means no cap. ``tasks`` counts processes and threads; ``file_bytes`` is one file's size."""

    memory_bytes: int | None = None
    tasks: int | None = None
    cpu_cores: float | None = None
    file_bytes: int | None = None
    open_files: int = OPEN_FILES


def rlimits(caps: Caps, *, tasks_in_use: int | None) -> list[tuple[int, int]]:
    """(resource, value) pairs for setrlimit.

    ``tasks_in_use`` is how many tasks our user has now where nothing else caps ``caps.tasks``, else
    None. Never RLIMIT_AS: polars aborts, panics or hangs under it.
    """
    limits = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, caps.open_files)]
    if caps.file_bytes is not None:
        limits.append((resource.RLIMIT_FSIZE, caps.file_bytes))
    if caps.tasks is not None and tasks_in_use is not None:
        limits.append((resource.RLIMIT_NPROC, tasks_in_use + caps.tasks + TASKS_SLACK))
    return limits


def tasks_in_use() -> int | None:
    """Threads of our user on this machine; None for root, whom RLIMIT_NPROC does not bind."""
    import psutil

    uid = os.getuid()
    if uid == 0:
        return None
    found = psutil.process_iter(["uids", "num_threads"])
    return sum(p.info["num_threads"] or 1 for p in found if p.info["uids"] and p.info["uids"].real == uid)
