"""How much memory a tree of processes holds: from its cgroup, else by asking every process."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from autoscorer.confine.cgroups import Cgroup

SAMPLE_INTERVAL_S = 0.1
CALM = 4  # polling may take a fifth of the time


class MemoryMeter:
    """Peak memory of the tree below ``root_pid``, and whether it is over a cap that nothing else holds."""

    def __init__(
        self,
        root_pid: int | None,
        group: Cgroup,
        *,
        cap_bytes: int | None,
        beside: Callable[[], int] = lambda: 0,
    ) -> None:
        """``root_pid`` may be None where the cgroup counts memory. ``beside`` tells what files in memory
        take; what is mapped of them counts twice where polled."""
        self._root_pid = root_pid
        self._group = group
        self._polled_cap_bytes = None if "memory" in group.enforced else cap_bytes
        self._beside = beside
        # What is over sooner tells its peak itself, and to ask a cgroup for it costs as much as to make one.
        # Without one a sample is also what `kill_known` knows.
        is_counted = "memory" in group.enforced
        self._next_at = time.monotonic() + SAMPLE_INTERVAL_S if is_counted else 0.0
        self._family: list[psutil.Process] = []
        self.peak_bytes: int | None = None

    def over_cap(self) -> bool:
        """Take a sample if one is due. With a cgroup the kernel acts, and this is never True."""
        started = time.monotonic()
        if started < self._next_at:
            return False
        in_use = self._group.memory_in_use_bytes()
        over = False
        if in_use is None:
            in_use, over = self._poll()
        self.peak_bytes = max(self.peak_bytes or 0, in_use)
        ended = time.monotonic()
        self._next_at = ended + max(SAMPLE_INTERVAL_S, CALM * (ended - started))
        return over

    def _poll(self) -> tuple[int, bool]:
        """Resident sizes count a shared page once for every process, so only the shares decide."""
        self._family = _family(self._root_pid)
        beside = self._beside()
        in_use = beside + sum(_resident_bytes(process) for process in self._family)
        if self._polled_cap_bytes is None or in_use <= self._polled_cap_bytes:
            return in_use, False
        in_use = beside + sum(_share_bytes(process) for process in self._family)
        return in_use, in_use > self._polled_cap_bytes

    def kill_known(self) -> None:
        """Kill what the last poll saw: all that is left to do when the supervisor was killed."""
        for process in self._family:
            try:
                process.kill()  # psutil checks the start time, so a reused pid is safe
            except psutil.Error:
                continue


def _family(root_pid: int | None) -> list[psutil.Process]:
    if root_pid is None:
        return []
    try:
        return psutil.Process(root_pid).children(recursive=True)
    except psutil.Error:
        return []


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _share_bytes(process: psutil.Process) -> int:
    """Proportional set size; the resident size where the process hides its maps."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.Error, OSError):
        return _resident_bytes(process)
