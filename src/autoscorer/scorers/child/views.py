"""What of this machine a scorer's process gets to see: its view, its code, places to write to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

WORKSPACE, CODE = "/workspace", "/scorer"
ARTIFACTS, TMP = f"{WORKSPACE}/output/artifacts", "/tmp"  # noqa: S108 - the scorer's own
MANY = 64  # entries of a view that are looked at to tell whether it is small
_OWN_DESCRIPTORS = "/proc/self/fd/"


def pinned_descriptors(view: Path) -> list[int]:
    """The open files of this process that names in ``view`` stand for, in order, each once."""
    folders = (entry.path for entry in _entries(view) if entry.is_dir(follow_symlinks=False))
    found = (_descriptor(link) for folder in folders for link in _entries(folder))
    return sorted({number for number in found if number is not None})


def has_small_files_only(view: Path, most_bytes: int) -> bool:
    """Whether a view has few files, each smaller than ``most_bytes``; for the choice of means, no wall."""
    folders, seen = [view], 0
    try:
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MANY:
                        return False
                    if entry.is_dir():
                        folders.append(Path(entry.path))
                    elif entry.stat().st_size >= most_bytes:
                        return False
    except OSError:
        return False
    return True


def files_of(
    view: Path,
    code: Path | None,
    *,
    pinned: Sequence[int],
    hidden: Sequence[Path],
    writable: Mapping[str, str],
) -> dict[str, Any]:
    """The files of a request: JSON-ready, as `child.walls` reads them.

    Links in a view are the platform's own: what they lead to is shown in their place. ``writable`` are
    folders of its own, with their options as tmpfs; nothing else may be written to.
    """
    shown = [
        cells
        for entry in _entries(os.path.realpath(view))  # so that only the links in it are to be followed
        for cells in _shown(entry, f"{WORKSPACE}/{entry.name}", pinned)
    ]
    path = None
    if code is not None:
        path = f"{CODE}/{code.name}"
        shown.append(_cells(os.path.realpath(code), path))
    return {
        "shown": shown,
        "folders": [WORKSPACE],
        "hidden": [str(folder) for folder in hidden],
        "writable": dict(writable),
        "workspace": WORKSPACE,
        "path": path,
    }


def _shown(entry: os.DirEntry[str], target: str, pinned: Sequence[int]) -> Iterator[dict[str, Any]]:
    """One entry of a view; a folder with links in it piece by piece, any other whole."""
    number = _descriptor(entry)
    if number is not None:
        status = os.fstat(number)
        yield {
            **_cells(os.path.realpath(entry.path), target),
            "identity": [status.st_dev, status.st_ino],
            "pinned": pinned.index(number),
        }
    elif entry.is_symlink():
        yield _cells(os.path.realpath(entry.path), target)
    else:
        children = _entries(entry.path) if entry.is_dir(follow_symlinks=False) else []
        if any(child.is_symlink() for child in children):
            for child in children:
                yield from _shown(child, f"{target}/{child.name}", pinned)
        else:
            yield _cells(entry.path, target)


def _cells(source: str, target: str) -> dict[str, Any]:
    return {"source": source, "target": target, "identity": None, "pinned": None}


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _descriptor(link: os.DirEntry[str]) -> int | None:
    """The descriptor a link of the platform's stands for; None for anything else."""
    if not link.is_symlink():
        return None
    target = os.readlink(link.path)  # noqa: PTH115 - a text
    number = target.removeprefix(_OWN_DESCRIPTORS)
    return int(number) if number != target and number.isdigit() else None
