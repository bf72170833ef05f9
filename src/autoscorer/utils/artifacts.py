"""Files that are written whole or not at all, what is said about them, and folders that go whole."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from autoscorer.utils import turns

_CHUNK = 2**16


@contextmanager
def atomic_writer(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """A binary file that appears at ``path`` complete, or not at all.

    Temporary file in the same folder, fsync, rename. A link standing at ``path`` is replaced, not followed.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            with turns.jobs.aside():
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:  # clean-up: no interrupt leaves the temporary file
        Path(temporary).unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically; the folder must exist."""
    with atomic_writer(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable UTF-8 JSON, atomically. Raises ValueError on NaN."""
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    # A path may hold bytes that are no UTF-8; as an escape they are JSON again.
    write_bytes(path, text.encode("utf-8", "backslashreplace") + b"\n")


def open_regular(path: Path, *, follow_links: bool) -> int:
    """A descriptor of the regular file at ``path``, opened to read.

    Raises FileNotFoundError, or OSError for anything else that stands there; never waits for a pipe.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link") from exc
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is a folder, a pipe or a device")
    return descriptor


def read_at_most(descriptor: int, n_bytes: int) -> bytes:
    """The first ``n_bytes`` that ``descriptor`` has, or all there are. Closes it. Raises OSError."""
    found = bytearray()
    try:
        while len(found) < n_bytes and (chunk := os.read(descriptor, min(n_bytes - len(found), _CHUNK))):
            found += chunk
        return bytes(found)
    finally:
        os.close(descriptor)


def open_below(root: Path, parts: Sequence[str]) -> int:
    """A descriptor of the regular file ``parts`` below ``root``, opened one step at a time, through no link.

    ``root`` itself may be one. Raises OSError for anything else; never waits for a pipe.
    """
    if not parts or any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
        raise FileNotFoundError(errno.ENOENT, "it is no path below")
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    folder = os.open(root, flags | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, flags | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        descriptor = os.open(parts[-1], flags | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is a folder, a pipe or a device")
    return descriptor


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a regular file's bytes, read in constant memory. Raises OSError for anything else."""
    with os.fdopen(open_regular(path, follow_links=True), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def create_fresh(path: Path) -> BinaryIO:
    """An empty file of ours at ``path``, whatever stood there: no link is followed, no pipe waited for."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o644)
    except FileExistsError:
        clear_name(path)
        descriptor = os.open(path, flags, 0o644)
    return os.fdopen(descriptor, "wb", buffering=0)


def write_fresh(path: Path, content: bytes) -> None:
    """Write a file of ours at ``path`` as `create_fresh` does. Not synced to disk: a hash vouches for it."""
    with create_fresh(path) as file:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]


def clear_name(path: Path) -> None:
    """Make way for a file of ours: remove what has its name, be it a folder or a link."""
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def copy_entry(source: Path, target: Path) -> None:
    """Copy a file, a link or a whole folder to ``target``, where nothing is. No link is followed."""
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def remove_tree(path: Path) -> None:
    """Remove a folder whatever is in it. Links are removed, never followed; nothing there is no error.

    Works on trees of any depth (shutil.rmtree recurses before Python 3.13) by moving subfolders up
    to the top one level at a time, and on folders without permissions that are our own.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        path.unlink()
        return
    path.chmod(0o700)
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    # Unguessable: a name that is already there, with something in it, would end the removal.
    prefix, numbers = f".removed-{secrets.token_hex(16)}-", itertools.count()
    try:
        while True:
            listed = _listed(root)
            for name, is_folder in listed:
                _remove_entry(root, name, is_folder, (f"{prefix}{number}" for number in numbers))
            try:
                path.rmdir()
            except OSError as exc:  # what was moved up, or came meanwhile
                if exc.errno != errno.ENOTEMPTY or not listed:
                    raise
            else:
                return
    finally:
        os.close(root)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for the time of the context, gone afterwards whatever foreign code has put into it."""
    folder = Path(tempfile.mkdtemp(prefix="autoscorer-"))
    try:
        yield folder
    finally:
        remove_tree(folder)


def _listed(folder: int) -> list[tuple[str, bool]]:
    """The names in an open folder, and whether each is a folder itself, as the listing has it."""
    with os.scandir(folder) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]


def _is_still_folder(folder: int, name: str) -> bool:
    """Just before its mode is changed: that of what a link leads to would be."""
    return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _remove_entry(root: int, name: str, is_folder: bool, fresh_names: Iterator[str]) -> None:
    """Remove one entry of ``root``; subfolders' subfolders are moved to ``root`` under fresh names."""
    if not (is_folder and _is_still_folder(root, name)):
        os.unlink(name, dir_fd=root)
        return
    os.chmod(name, 0o700, dir_fd=root)
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
    try:
        for child, is_folder_too in _listed(folder):
            if is_folder_too and _is_still_folder(folder, child):
                os.chmod(child, 0o700, dir_fd=folder)
                os.rename(child, next(fresh_names), src_dir_fd=folder, dst_dir_fd=root)
            else:
                os.unlink(child, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=root)
