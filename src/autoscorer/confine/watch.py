"""How much a running program has written: a bounded walk over a directory that may be hostile.

It reads names and sizes only, by directory descriptor, never follows a link, and never opens a file.
What is unlinked but open it cannot see: `harvest` is the judge of what may be taken out, this is the
brake.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, replace
from pathlib import Path

MAX_DEPTH = 256
CALM = 5  # a walk may take a fifth of the time
MIN_INTERVAL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Written:
    """What the walk found; it stops as soon as one limit is passed, so the rest may be larger.

    ``hidden``: a folder that its owner, we, may not read. Only a program that hides its output makes one.
    """

    size_bytes: int
    entries: int
    depth: int
    hidden: bool = False

    def exceeds(self, *, max_bytes: int, max_entries: int) -> bool:
        return (
            self.size_bytes > max_bytes or self.entries > max_entries or self.depth > MAX_DEPTH or self.hidden
        )


def measure(root: Path | int, *, max_bytes: int, max_entries: int) -> Written:
    """Add up what is below ``root``, a path or an open folder. A folder that vanishes counts as empty."""
    name, parent = (".", root) if isinstance(root, int) else (os.fspath(root), None)
    open_folders: list[tuple[int, list[str]]] = []
    try:
        hidden = not _descend(open_folders, name, parent=parent, limit=max_entries)
        found = Written(size_bytes=0, entries=0, depth=0, hidden=hidden)
        while open_folders and not found.exceeds(max_bytes=max_bytes, max_entries=max_entries):
            folder, names = open_folders[-1]
            if not names:
                os.close(open_folders.pop()[0])
                continue
            found = _count(found, open_folders, folder, names.pop(), limit=max_entries)
    finally:
        for folder, _ in open_folders:
            os.close(folder)
    return found


def _count(
    found: Written, open_folders: list[tuple[int, list[str]]], folder: int, name: str, *, limit: int
) -> Written:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except PermissionError:
        return replace(found, hidden=True)
    except OSError:
        return found
    depth, hidden = found.depth, False
    if stat.S_ISDIR(status.st_mode):
        depth = max(depth, len(open_folders))
        if depth <= MAX_DEPTH:
            hidden = not _descend(open_folders, name, parent=folder, limit=limit - found.entries)
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return Written(size_bytes=found.size_bytes + size, entries=found.entries + 1, depth=depth, hidden=hidden)


def _descend(open_folders: list[tuple[int, list[str]]], name: str, *, parent: int | None, limit: int) -> bool:
    """Open a folder and list it; False if we may not."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        folder = os.open(name, flags, dir_fd=parent)
    except PermissionError:
        return False
    except OSError:
        return True
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > limit:
                break
    open_folders.append((folder, names))
    return True


class OutputWatch:
    """`measure`, often enough to stop a flood and seldom enough not to cost."""

    def __init__(self, root: Path, *, max_bytes: int, max_entries: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._next_at = 0.0

    def exceeded(self, *, now: bool = False) -> Written | None:
        """What is there, if that is too much; None if not, or (without ``now``) if asked too soon."""
        started = time.monotonic()
        if not now and started < self._next_at:
            return None
        found = measure(self._root, max_bytes=self._max_bytes, max_entries=self._max_entries)
        ended = time.monotonic()
        self._next_at = ended + max(MIN_INTERVAL_S, CALM * (ended - started))
        over = found.exceeds(max_bytes=self._max_bytes, max_entries=self._max_entries)
        return found if over else None
