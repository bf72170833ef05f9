"""Folders below WORKSPACE_ROOT, entered by descriptor and never through a link, and how old they are."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_ESCAPE = re.compile(r"\\([0-7]{3})")  # how the kernel writes spaces
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def entered(path: str | Path, *, within: int | None = None) -> Iterator[int]:
    """A descriptor of the folder at ``path``, which is a single name if ``within`` another.

    Raises OSError for a link and for anything that is no folder.
    """
    descriptor = os.open(path, _FLAGS, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def entered_below(root: Path, name: str) -> Iterator[int]:
    """A descriptor of the folder ``name`` below ``root``, none of whose parts is a link. Raises OSError."""
    with ExitStack() as steps:
        folder = steps.enter_context(entered(root))
        for part in name.split("/"):
            folder = steps.enter_context(entered(part, within=folder))
        yield folder


def folder_names(folder: int) -> list[str]:
    """The names of the folders in a folder; links to folders are none."""
    return sorted(name for name in os.listdir(folder) if _is_folder(folder, name))


def path_in(folder: int, name: str) -> Path:
    """A path to an entry that holds good wherever the folder is moved to, as long as it is entered."""
    return Path(f"/proc/self/fd/{folder}") / name


def last_change_s(folder: int, name: str) -> float:
    """When an entry, or one directly below it, last changed: its content, its place or its rights.

    Seconds since 1970. Raises OSError.
    """
    changes = [_changed_s(os.stat(name, dir_fd=folder, follow_symlinks=False))]
    if _is_folder(folder, name):
        with entered(name, within=folder) as inside:
            for entry in os.listdir(inside):
                changes.append(_changed_s(os.stat(entry, dir_fd=inside, follow_symlinks=False)))
    return max(changes)


def mount_points(mountinfo: str | None = None) -> frozenset[Path]:
    """Where something is mounted, by the text of /proc/self/mountinfo."""
    if mountinfo is None:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    written = (line.split(" ")[4] for line in mountinfo.splitlines())
    return frozenset(Path(_ESCAPE.sub(lambda found: chr(int(found[1], 8)), point)) for point in written)


def _is_folder(folder: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _changed_s(status: os.stat_result) -> float:
    return max(status.st_mtime, status.st_ctime)
