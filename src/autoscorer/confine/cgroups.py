"""Control groups: where this process may make one, what it caps, what it counted.

Version 1 makes a child of our own group in each hierarchy; version 2 a child or, because a group
with processes may not delegate, a sibling. Either way the limits on us still hold. A controller
that cannot be used is left out: `Cgroup.enforced` says which caps hold.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from autoscorer.confine.caps import Caps

CPU_PERIOD_US = 100_000
REMOVE_BUDGET_S = 2.0
PREFIX = "autoscorer"
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Home:
    """A folder of the cgroup file system in which a group of ours may stand."""

    version: int
    controllers: frozenset[str]
    directory: Path


def find_homes(cgroup_text: str, mountinfo_text: str) -> list[Home]:
    """Candidates in the order to try, from /proc/self/cgroup and /proc/self/mountinfo."""
    own = {}
    for line in cgroup_text.splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path
    homes: list[Home] = []
    for root, mountpoint, kind, options in _cgroup_mounts(mountinfo_text):
        if kind == "cgroup2" and "" in own:
            directory = _below(own[""], root=root, mountpoint=mountpoint)
            candidates = [directory] if directory == mountpoint else [directory, directory.parent]
            homes += [Home(version=2, controllers=_delegated(c), directory=c) for c in candidates]
        for controllers, path in own.items():
            names = frozenset(controllers.split(","))
            if kind == "cgroup" and controllers and names <= options:
                directory = _below(path, root=root, mountpoint=mountpoint)
                homes.append(Home(version=1, controllers=names, directory=directory))
    return homes


def own_homes() -> list[Home]:
    """`find_homes` of this process; empty where there is no cgroup file system."""
    try:
        return find_homes(
            Path("/proc/self/cgroup").read_text(encoding="utf-8"),
            Path("/proc/self/mountinfo").read_text(encoding="utf-8"),
        )
    except OSError:
        return []


def _cgroup_mounts(mountinfo_text: str) -> Iterator[tuple[str, Path, str, frozenset[str]]]:
    for line in mountinfo_text.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            fields = before.split(" ")
            yield fields[3], Path(fields[4]), kind, frozenset(options.split(","))


def _below(path: str, *, root: str, mountpoint: Path) -> Path:
    """Where group ``path`` stands under a mount that shows the subtree ``root`` (a container's own)."""
    inside = path.removeprefix(root.rstrip("/")) if path.startswith(root.rstrip("/")) else "/"
    return mountpoint / inside.lstrip("/")


def _delegated(directory: Path) -> frozenset[str]:
    try:
        return frozenset((directory / "cgroup.subtree_control").read_text().split())
    except OSError:
        return frozenset()


def _settings(version: int, caps: Caps) -> dict[str, list[tuple[str, str, bool]]]:
    """For each controller its (file, value, required) in the order to write them."""
    settings: dict[str, list[tuple[str, str, bool]]] = {"cpuacct": []} if version == 1 else {}
    if caps.memory_bytes is not None:
        size = str(caps.memory_bytes)
        settings["memory"] = (
            [("memory.limit_in_bytes", size, True), ("memory.memsw.limit_in_bytes", size, False)]
            if version == 1
            else [("memory.max", size, True), ("memory.swap.max", "0", False)]
        )
    if caps.tasks is not None:
        settings["pids"] = [("pids.max", str(caps.tasks), True)]
    if caps.cpu_cores is not None:
        quota = str(max(1000, round(caps.cpu_cores * CPU_PERIOD_US)))
        file, value = ("cpu.cfs_quota_us", quota) if version == 1 else ("cpu.max", f"{quota} {CPU_PERIOD_US}")
        settings["cpu"] = [(file, value, True)]
    return settings


class Cgroup:
    """One group, in as many hierarchies as it takes. Context manager: leaving removes it."""

    def __init__(self) -> None:
        self._directories: dict[str, Path] = {}
        self.enforced: frozenset[str] = frozenset()

    @classmethod
    def create(cls, caps: Caps, homes: list[Home]) -> Cgroup:
        """Make it with all of ``caps`` that ``homes`` can hold; none at all is no error."""
        group = cls()
        name = f"{_own_prefix()}{os.getpid()}-{next(_numbers)}"
        for home in homes:
            wanted = {
                controller: files
                for controller, files in _settings(home.version, caps).items()
                if controller in home.controllers and controller not in group._directories
            }
            if wanted:
                _sweep(home.directory)
                group._add(home.directory / name, wanted)
        group.enforced = frozenset(group._directories) - {"cpuacct"}
        return group

    def _add(self, directory: Path, wanted: Mapping[str, list[tuple[str, str, bool]]]) -> None:
        try:
            directory.mkdir()
        except OSError:
            return
        for controller, files in wanted.items():
            if all(_write(directory / file, value) or not required for file, value, required in files):
                self._directories[controller] = directory
        if directory not in self._directories.values():
            directory.rmdir()

    @property
    def directories(self) -> list[Path]:
        return list(dict.fromkeys(self._directories.values()))

    def members(self) -> list[int]:
        """Pids in the group, if it still exists."""
        found: list[int] = []
        for directory in self.directories:
            found += [int(text) for text in (_read(directory / "cgroup.procs") or "").split()]
        return found

    def oom_kills(self) -> int:
        """How many of its processes the kernel killed for memory."""
        counted = 0
        for file in ("memory.oom_control", "memory.events"):
            counted += self._counters("memory", file).get("oom_kill", 0)
        return counted

    def memory_in_use_bytes(self) -> int | None:
        """What the program holds, without the file cache that the kernel can take back."""
        counters = self._counters("memory", "memory.stat")
        if "total_rss" in counters:
            return counters["total_rss"] + counters.get("total_shmem", 0)
        if "anon" in counters:
            return counters["anon"] + counters.get("shmem", 0)
        return None

    def cpu_seconds(self) -> float | None:
        if "cpuacct" in self._directories:
            text = _read(self._directories["cpuacct"] / "cpuacct.usage")
            return int(text) / 1e9 if text else None
        usages = [self._counters(name, "cpu.stat").get("usage_usec") for name in self._directories]
        return next((usage / 1e6 for usage in usages if usage is not None), None)

    def _counters(self, controller: str, file: str) -> dict[str, int]:
        directory = self._directories.get(controller)
        text = (_read(directory / file) if directory else None) or ""
        pairs = (line.split() for line in text.splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}

    def remove(self) -> None:
        """Remove its folders once the last task is out. Safe to call twice."""
        deadline = time.monotonic() + REMOVE_BUDGET_S
        for directory in self.directories:
            while not _rmdir(directory) and time.monotonic() < deadline:
                time.sleep(0.005)
        self._directories = {}


@functools.cache
def _own_prefix() -> str:
    """How the groups of our pid namespace begin: elsewhere a pid means another process, or none."""
    return f"{PREFIX}-n{Path('/proc/self/ns/pid').stat().st_ino}-"


def _sweep(directory: Path) -> None:
    """Remove empty groups whose owner was killed before it could; only ours can be told to be dead."""
    prefix = _own_prefix()
    ours = f"{prefix}{os.getpid()}-"
    try:
        names = [name for name in os.listdir(directory) if name.startswith(prefix)]
    except OSError:
        return
    for name in names:
        owner = name.removeprefix(prefix).split("-")[0]
        if not name.startswith(ours) and owner.isdigit() and not Path("/proc", owner).exists():
            _rmdir(directory / name)


def _rmdir(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _write(path: Path, text: str) -> bool:
    try:
        with open(path, "wb", buffering=0) as file:  # noqa: PTH123 - half the time of a text's
            file.write(text.encode())
    except OSError:
        return False
    return True


def _read(path: Path) -> str | None:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - half the time of a text's
            return file.readall().decode()
    except OSError:
        return None
