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
    found = (_descriptor(link) for folder in _folders(view) for link in folder.iterdir())
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
        cells for entry in view.iterdir() for cells in _shown(entry, f"{WORKSPACE}/{entry.name}", pinned)
    ]
    path = None
    if code is not None:
        path = f"{CODE}/{code.name}"
        shown.append(_cells(code, path))
    return {
        "shown": shown,
        "folders": [WORKSPACE],
        "hidden": [str(folder) for folder in hidden],
        "writable": dict(writable),
        "workspace": WORKSPACE,
        "path": path,
    }


def _shown(entry: Path, target: str, pinned: Sequence[int]) -> Iterator[dict[str, Any]]:
    """One entry of a view; a folder with links in it piece by piece, any other whole."""
    number = _descriptor(entry)
    if number is not None:
        status = os.fstat(number)
        yield {
            **_cells(entry, target),
            "identity": [status.st_dev, status.st_ino],
            "pinned": pinned.index(number),
        }
    elif entry.is_dir() and not entry.is_symlink() and any(child.is_symlink() for child in entry.iterdir()):
        for child in entry.iterdir():
            yield from _shown(child, f"{target}/{child.name}", pinned)
    else:
        yield _cells(entry, target)


def _cells(source: Path, target: str) -> dict[str, Any]:
    return {
        "source": os.path.realpath(source),
        "target": target,
        "identity": None,
        "pinned": None,
    }


def _folders(view: Path) -> Iterator[Path]:
    return (entry for entry in view.iterdir() if entry.is_dir() and not entry.is_symlink())


def _descriptor(link: Path) -> int | None:
    """The descriptor a link of the platform's stands for; None for anything else."""
    if not link.is_symlink():
        return None
    target = str(link.readlink())
    number = target.removeprefix(_OWN_DESCRIPTORS)
    return int(number) if number != target and number.isdigit() else None
