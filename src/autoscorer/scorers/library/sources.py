"""A scorer's source on disk: who could have written it, and its bytes, read once as one content.

A source is a `.py` file or a package folder. Times on files are never trusted to tell two contents
apart; their bytes do.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from autoscorer.schemas.result import canonical_json
from autoscorer.utils.artifacts import open_regular
from autoscorer.utils.errors import AutoscorerError

MAX_FILES, MAX_BYTES = 1000, 64 * 2**20
_READINGS = 5  # a file may be in the middle of being written


@dataclass(frozen=True)
class Content:
    """A source's bytes. ``files`` are by their path below the folder that the source lies in."""

    name: str
    files: Mapping[str, bytes]

    @cached_property
    def sha256(self) -> str:
        """Of a file the SHA-256 of its bytes, of a package that of all its files' names and hashes."""
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        if list(hashes) == [self.name]:
            return hashes[self.name]
        return hashlib.sha256(canonical_json(hashes).encode()).hexdigest()


def source_path(path: str | Path) -> Path:
    """The source that a user's ``path`` means: absolute, no link followed; `pkg/__init__.py` is `pkg`."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link
    return absolute.parent if absolute.name == "__init__.py" else absolute


def may_be_source(path: Path) -> bool:
    """Whether somebody may mean a scorer by what lies there: a `.py` file or a package folder."""
    return os.path.lexists(path if path.suffix == ".py" else path / "__init__.py")


def read_source(path: Path) -> Content:
    """What lies at ``path``, all of it of one moment. Raises AutoscorerError SCORER_NOT_FOUND.

    Cause ``refused``: a link, another user's, or others could write to it; ``unloadable``: not there,
    no Python, too large, or changing all the time.
    """
    for _ in range(_READINGS):
        before = _listing(path)
        try:
            content = Content(path.name, {name: _read(path.parent / name) for name in sorted(before)})
        except FileNotFoundError:
            continue  # renamed away while it was read
        if _listing(path) == before:
            return content
    raise unloadable(path, "keeps changing while it is read; load it again when it is at rest")


def check_folder(folder: Path) -> None:
    """Raise ``refused`` unless nobody but us can put files into ``folder``."""
    try:
        _check_owner(folder, folder.stat())
    except OSError as exc:
        raise unloadable(folder, f"cannot be read ({exc.strerror})") from exc


def unloadable(path: Path, problem: str) -> AutoscorerError:
    """SCORER_NOT_FOUND for a source that is no scorer."""
    return AutoscorerError(
        "SCORER_NOT_FOUND", f"{path.name} {problem}", {"file": path.name}, cause="unloadable"
    )


def _refused(path: Path, problem: str) -> AutoscorerError:
    return AutoscorerError("SCORER_NOT_FOUND", f"{path.name} {problem}", {"file": path.name}, cause="refused")


def _listing(path: Path) -> dict[str, tuple[int, ...]]:
    """The source's files and a state of each that changes when it is written to."""
    try:
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            found = dict(_walk(path, status))
            if f"{path.name}/__init__.py" not in found or not path.name.isidentifier():
                raise unloadable(path, "is a folder, but no package: that has a plain name and `__init__.py`")
            return found
    except FileNotFoundError:
        raise unloadable(path, "does not exist") from None
    except OSError as exc:
        raise unloadable(path, f"cannot be read ({exc.strerror})") from exc
    if path.suffix != ".py":
        raise unloadable(path, "is no scorer: that is a `.py` file or a package folder")
    _check_file(path, status)
    return {path.name: _state(status)}


def _walk(root: Path, status: os.stat_result) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every file of a package but caches and hidden ones; each folder is checked before it is entered."""
    folders, files = [(root, status)], 0
    while folders:
        folder, status = folders.pop()
        _check_owner(folder, status)
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.name == "__pycache__":
                continue
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode):
                folders.append((path, found))
                continue
            _check_file(path, found)
            files += 1
            if files > MAX_FILES:
                raise unloadable(root, f"has more than {MAX_FILES} files")
            yield path.relative_to(root.parent).as_posix(), _state(found)


def _check_file(path: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise _refused(path, "is a link; name the file itself")
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, "is no regular file")
    if status.st_size > MAX_BYTES:
        raise unloadable(path, f"is larger than {MAX_BYTES} bytes")
    _check_owner(path, status)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        raise _refused(path, f"belongs to another user (uid {status.st_uid}); load a copy of your own")
    others = status.st_mode & stat.S_IWOTH
    group = status.st_mode & stat.S_IWGRP and not _is_private_group(status)
    if others or group:
        who = "everybody" if others else "its group"
        raise _refused(path, f"can be written to by {who}: `chmod go-w {path.name}`")


def _is_private_group(status: os.stat_result) -> bool:
    """Whether a file's group is its owner's alone, as where the umask is 0002 by default (Debian, Ubuntu)."""
    import grp
    import pwd

    try:
        owner, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return status.st_uid != 0 and owner.pw_name == group.gr_name and not set(group.gr_mem) - {owner.pw_name}


def _read(path: Path) -> bytes:
    try:
        with os.fdopen(open_regular(path, follow_links=False), "rb") as file:
            # Of the open file, not of its name: another may stand there by now.
            _check_file(path, os.fstat(file.fileno()))
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise unloadable(path, f"cannot be read ({exc.strerror})") from exc


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
