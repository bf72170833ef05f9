"""The zygote's memory gathered in large pages: a fork has hundreds of entries to copy, not ten thousand.

Each page that a fork writes to is copied by itself as before; what is not written to costs less to hand on
and to take back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

LARGE_BYTES = 2**21
_COLLAPSE = 25  # madvise(2); Linux 6.1


def gather() -> int:
    """Gather what this process has written; how many large pages were made. Raises OSError without /proc."""
    libc = ctypes.CDLL(None, use_errno=True)
    made = 0
    for start in _blocks(Path("/proc/self/maps").read_text(encoding="ascii", errors="replace")):
        address, length = ctypes.c_void_p(start), ctypes.c_size_t(LARGE_BYTES)
        made += libc.madvise(address, length, _COLLAPSE) == 0
    return made


def _blocks(maps: str) -> Iterator[int]:
    """Where whole large pages would lie in private, writable memory that no file stands behind."""
    for line in maps.splitlines():
        area, mode, _, _, _, *name = line.split(maxsplit=5)
        if mode != "rw-p" or name not in ([], ["[heap]"]):
            continue
        low, high = (int(number, 16) for number in area.split("-"))
        yield from range(-(-low // LARGE_BYTES) * LARGE_BYTES, high - LARGE_BYTES + 1, LARGE_BYTES)
