"""The files of a scoring view as a scorer's process must get them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_OWN_DESCRIPTORS = "/proc/self/fd/"


def pinned_descriptors(view: Path) -> list[int]:
    """The open files of this process that names in ``view`` stand for, in order, each once."""
    found = (_descriptor(path) for path in _links(view))
    return sorted({number for number in found if number is not None})


def _links(view: Path) -> Iterator[Path]:
    for entry in view.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            yield from (path for path in entry.iterdir() if path.is_symlink())


def _descriptor(link: Path) -> int | None:
    target = str(link.readlink())
    number = target.removeprefix(_OWN_DESCRIPTORS)
    return int(number) if number != target and number.isdigit() else None
