"""The only code that reads what a container wrote: a hostile folder in, a plain copy out.

Everything is opened relative to an open folder and never through a link, so nothing the writer can
do (links, pipes, devices, deep trees, files that grow) makes us read another file, wait or run out.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NoReturn

from autoscorer.utils.errors import AutoscorerError

RESERVED = ("result.json", "artifacts")
_CHUNK_BYTES = 2**20
_CHANGED = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EACCES)
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class HarvestPolicy:
    """What may be harvested. ``stage`` is where a breach is reported."""

    max_bytes: int
    max_entries: int = 10_000
    max_depth: int = 32
    max_path_bytes: int = 1024
    timeout_s: float = 300.0
    stage: str = "execution"


@dataclass
class Harvest:
    """What was taken: relative path to SHA-256, and the reserved names that were left behind."""

    sha256: dict[str, str] = field(default_factory=dict)
    total_bytes: int = 0
    reserved: list[str] = field(default_factory=list)


def harvest(source: Path, target: Path, policy: HarvestPolicy) -> Harvest:
    """Copy the regular files below ``source`` into the new folder ``target``.

    `result.json` and `artifacts` at the top are the platform's and left behind. Raises
    AutoscorerError: OUTPUT_INVALID for anything but plain files and folders, for a name that is no
    printable UTF-8 and for a tree too deep; OUTPUT_LIMIT for too many entries or bytes.
    """
    target.mkdir(mode=0o755)
    walk = _Walk(policy)
    try:
        root = os.open(source, _OPEN_DIR)
    except OSError as exc:
        walk.refuse((), f"is not a folder ({exc.strerror})")
    try:
        status = os.fstat(root)
        walk.device = status.st_dev
        walk.check_entry((), status)
        pending: list[tuple[str, ...]] = [()]
        while pending:
            path = pending.pop()
            try:
                pending += walk.copy_folder(root, path, target)
            except OSError as exc:
                # A full disk is raised as it is: there was room for the output twice when the job began, and
                # the backend has measured that it is within its limit. So others have filled it.
                if exc.errno not in _CHANGED:
                    raise
                walk.refuse(path, "changed while it was read")
    finally:
        os.close(root)
    return walk.taken


class Taking:
    """What was taken so far and what is still allowed: one policy, whatever the output is read from."""

    def __init__(self, policy: HarvestPolicy) -> None:
        self.policy = policy
        self.deadline = time.monotonic() + policy.timeout_s
        self.entries = 0
        self.taken = Harvest()

    def check_name(self, path: Sequence[str]) -> None:
        """Raise OUTPUT_INVALID for a name that is no printable UTF-8, a path too long or too deep."""
        if path and not (path[-1].isprintable() and _is_utf8(path[-1])):
            self.refuse(path, "has a name that is not printable UTF-8")
        if len(os.fsencode("/".join(path))) > self.policy.max_path_bytes:
            self.refuse(path, f"has a path longer than {self.policy.max_path_bytes} bytes")
        if len(path) > self.policy.max_depth:
            self.refuse(path[:-1], f"is deeper than {self.policy.max_depth} folders")

    def check_mode(self, path: Sequence[str], mode: int, *, folder: bool) -> None:
        """Raise OUTPUT_INVALID for what its owner may not read."""
        needed = stat.S_IRUSR | (stat.S_IXUSR if folder else 0)
        if mode & needed != needed:
            self.refuse(path, f"cannot be read (mode {stat.S_IMODE(mode):04o})")

    def check_size(self, size: int) -> None:
        """Raise OUTPUT_LIMIT if ``size`` more bytes are more than allowed."""
        if self.taken.total_bytes + size > self.policy.max_bytes:
            self.too_much("bytes", self.policy.max_bytes)

    def store(self, path: tuple[str, ...], chunks: Iterable[bytes], target: Path) -> None:
        """Write a file's content and its hash."""
        digest = hashlib.sha256()
        with target.open("xb") as copy:
            for chunk in chunks:
                self._count(len(chunk))
                digest.update(chunk)
                copy.write(chunk)
        self.taken.sha256["/".join(path)] = digest.hexdigest()

    def refuse(self, path: Sequence[str], why: str) -> NoReturn:
        shown = "/".join(("output", *(part.encode("utf-8", "backslashreplace").decode() for part in path)))
        shown = shown if len(shown) <= 200 else shown[:197] + "..."
        raise AutoscorerError(
            "OUTPUT_INVALID", f"{ascii(shown)[1:-1]} {why}", {"path": shown}, stage=self.policy.stage
        )

    def check_time(self) -> None:
        if time.monotonic() > self.deadline:
            self.too_much("seconds to copy", int(self.policy.timeout_s))

    def too_much(self, unit: str, limit: int) -> NoReturn:
        raise AutoscorerError(
            "OUTPUT_LIMIT",
            f"output/ holds more than the {limit} {unit} allowed",
            {"limit": limit, "unit": unit},
            stage=self.policy.stage,
        )

    def _count(self, size: int) -> None:
        self.taken.total_bytes += size
        if self.taken.total_bytes > self.policy.max_bytes:
            self.too_much("bytes", self.policy.max_bytes)
        self.check_time()


class _Walk(Taking):
    """One harvest of a folder."""

    device = 0

    def copy_folder(self, root: int, parts: tuple[str, ...], target: Path) -> list[tuple[str, ...]]:
        """Copy the files of one folder; return its subfolders."""
        folders = []
        with _open_folder(root, parts) as folder:
            for name in self._names(folder, parts):
                path = (*parts, name)
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                self.check_entry(path, status)
                if not parts and name in RESERVED:
                    self.taken.reserved.append(name)
                elif stat.S_ISDIR(status.st_mode):
                    (target / Path(*path)).mkdir(mode=0o755)
                    folders.append(path)
                else:
                    self._copy_file(folder, path, target / Path(*path))
        return folders

    def _names(self, folder: int, parts: tuple[str, ...]) -> list[str]:
        allowed = self.policy.max_entries - self.entries
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, allowed + 1)]
        self.entries += len(names)
        if len(names) > allowed:
            self.too_much("entries", self.policy.max_entries)
        if names and len(parts) >= self.policy.max_depth:
            self.refuse(parts, f"is deeper than {self.policy.max_depth} folders")
        return sorted(names)

    def check_entry(self, path: tuple[str, ...], status: os.stat_result) -> None:
        kind = stat.S_IFMT(status.st_mode)
        self.check_name(path)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            self.refuse(path, f"is {_KINDS.get(kind, 'a special file')}; only regular files are taken")
        self.check_mode(path, status.st_mode, folder=kind == stat.S_IFDIR)
        if status.st_dev != self.device:
            self.refuse(path, "lies on another file system")

    def _copy_file(self, folder: int, path: tuple[str, ...], target: Path) -> None:
        try:
            descriptor = os.open(path[-1], _OPEN_FILE, dir_fd=folder)
        except OSError as exc:
            self.refuse(path, f"cannot be opened ({exc.strerror})")
        with os.fdopen(descriptor, "rb", buffering=0) as source:
            status = os.fstat(descriptor)
            self.check_entry(path, status)
            if not stat.S_ISREG(status.st_mode):
                self.refuse(path, "is not a regular file")
            if status.st_nlink != 1:
                self.refuse(path, "has further hard links")
            self.check_size(status.st_size)
            self.store(path, iter(lambda: source.read(_CHUNK_BYTES), b""), target)


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def _open_folder(root: int, parts: Sequence[str]) -> Iterator[int]:
    """The folder ``parts`` below ``root``, opened one step at a time and never through a link."""
    descriptor = os.dup(root)
    try:
        for part in parts:
            below = os.open(part, _OPEN_DIR, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
