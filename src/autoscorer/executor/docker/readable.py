"""Whether the container's user will be able to read what is mounted for it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from autoscorer.executor.docker.planning import NOBODY
from autoscorer.schemas.job import SpecFault, spec_error

MAX_ENTRIES = 10_000
MAX_OFFENDERS = 5
_FOLDER_BITS = stat.S_IROTH | stat.S_IXOTH


def container_user() -> str:
    """uid:gid of the container's user: not root where we are, else ours, who can read what we can."""
    return NOBODY if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"


def check_readable(input_dir: Path, user: str) -> None:
    """Raise CONFIG_VALIDATION_ERROR naming the first files in ``input_dir`` that ``user`` cannot read.

    Looks at no more than `MAX_ENTRIES`; links are not followed. A program that meets a file it may not
    read would look like a faulty program.
    """
    if user != NOBODY:
        return
    offenders = list(islice(_unreadable(input_dir), MAX_OFFENDERS))
    if offenders:
        faults = [
            SpecFault(
                name,
                "cannot be read by the container's user, which is not root",
                "make it readable: chmod -R o+rX input",
            )
            for name in offenders
        ]
        raise spec_error(faults, cause="workspace")


def _unreadable(input_dir: Path) -> Iterator[str]:
    pending, seen = [input_dir], 0
    while pending and seen < MAX_ENTRIES:
        folder = pending.pop()
        if folder.stat().st_mode & _FOLDER_BITS != _FOLDER_BITS:
            yield _shown(folder, input_dir) + "/"
            continue
        with os.scandir(folder) as entries:
            for entry in islice(entries, MAX_ENTRIES - seen):
                seen += 1
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False) and not entry.stat().st_mode & stat.S_IROTH:
                    yield _shown(Path(entry.path), input_dir)


def _shown(path: Path, input_dir: Path) -> str:
    text = "/".join(("input", *path.relative_to(input_dir).parts))
    return text.encode("utf-8", "backslashreplace").decode()
