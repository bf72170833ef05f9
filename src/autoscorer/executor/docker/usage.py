"""What a container used: sampled from its control group where we see it, else from the engine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoscorer.confine.cgroups import find_homes
from autoscorer.executor.docker.containers import Container, ContainerState, EngineSilentError

SAMPLE_INTERVAL_S = 0.05
ASK_INTERVAL_S = 1.0  # the engine takes 2 ms for an answer, a file 30 µs


class UsageMeter:
    """Peak memory without the file cache, and CPU time, of one running container.

    A group vanishes with its last process, so each sample may be the last: what happens after it is
    not counted.
    """

    def __init__(self, container: Container, state: ContainerState, *, local: bool) -> None:
        self._container = container
        self._folders = _control_groups(state.pid, container.container_id) if local and state.pid else {}
        self._next_at = 0.0
        self.peak_memory_bytes: int | None = None
        self.cpu_seconds: float | None = None
        self.oom_kills = 0

    def sample(self) -> None:
        """Take a sample if one is due. What cannot be read now is left as it was."""
        now = time.monotonic()
        if now < self._next_at:
            return
        self._next_at = now + (SAMPLE_INTERVAL_S if self._folders else ASK_INTERVAL_S)
        if self._folders:
            self._note(*_from_files(self._folders))
        else:
            try:
                self._note(*_from_stats(self._container.stats()))
            except (EngineSilentError, LookupError):
                return

    def _note(self, memory_bytes: int | None, cpu_seconds: float | None, oom_kills: int) -> None:
        if memory_bytes:
            self.peak_memory_bytes = max(self.peak_memory_bytes or 0, memory_bytes)
        if cpu_seconds:
            self.cpu_seconds = max(self.cpu_seconds or 0.0, cpu_seconds)
        self.oom_kills = max(self.oom_kills, oom_kills)


def _control_groups(pid: int, container_id: str) -> Mapping[str, Path]:
    """Controller to folder for the group of process ``pid``, if that is the container's first process."""
    try:
        own = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    folders: dict[str, Path] = {}
    for home in find_homes(own, mounts):
        if container_id in str(home.directory) and home.directory.is_dir():
            names = home.controllers if home.version == 1 else {"unified"}
            folders |= {name: home.directory for name in names if name not in folders}
    complete = "unified" in folders or {"memory", "cpuacct"} <= folders.keys()
    return folders if complete else {}


def _from_files(folders: Mapping[str, Path]) -> tuple[int | None, float | None, int]:
    """A hybrid machine has a unified group without controllers beside the old ones; those count."""
    if "memory" in folders:
        memory = _counters(folders["memory"] / "memory.stat")
        held = _sum(memory, "total_rss", "total_shmem")
        kills = _counters(folders["memory"] / "memory.oom_control").get("oom_kill", 0)
    else:
        held = _sum(_counters(folders["unified"] / "memory.stat"), "anon", "shmem")
        kills = _counters(folders["unified"] / "memory.events").get("oom_kill", 0)
    if "cpuacct" in folders:
        nanoseconds = _read(folders["cpuacct"] / "cpuacct.usage").strip()
        return held, int(nanoseconds) / 1e9 if nanoseconds.isdigit() else None, kills
    usage_us = _counters(folders["unified"] / "cpu.stat").get("usage_usec")
    return held, None if usage_us is None else usage_us / 1e6, kills


def _sum(counters: Mapping[str, int], first: str, second: str) -> int | None:
    return counters[first] + counters.get(second, 0) if first in counters else None


def _from_stats(stats: Mapping[str, Any]) -> tuple[int | None, float | None, int]:
    memory = stats.get("memory_stats") or {}
    inner = memory.get("stats") or {}
    held = inner.get("total_rss", inner.get("anon", memory.get("usage")))
    used = ((stats.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage")
    return held, None if used is None else used / 1e9, 0


def _counters(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in _read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
