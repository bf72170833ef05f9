"""A bounded folder of entries that may be lost: verified when read, the least recently used removed.

An entry is one file, renamed into place whole and found again by its name; its first line is the SHA-256 of
name and content. Any number of processes may use the folder at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from autoscorer.utils.artifacts import open_regular

# What an entry takes on the disk at least; it also bounds their number.
BLOCK_BYTES = 4096
# No entry may push out most of the others, or take much memory.
LARGEST_SHARE = 4
LARGEST_BYTES = 2**26
LOCK_TIMEOUT_S = 0.5
# A temporary file this old was left by a process that was killed.
ABANDONED_S = 3600.0
_USAGE = "usage"


class CacheFolder:
    """Entries below ``data_dir/parts``, at most ``max_bytes`` together.

    ``data_dir`` must be ours and writable by nobody else, the folders below it private: whoever can write
    an entry decides what is served from it.
    """

    def __init__(self, data_dir: Path, parts: tuple[str, ...], max_bytes: int) -> None:
        self.root = data_dir.joinpath(*parts)
        self._chain = [data_dir, *(data_dir.joinpath(*parts[: n + 1]) for n in range(len(parts)))]
        self.max_bytes = max_bytes

    @property
    def largest_entry_bytes(self) -> int:
        return min(self.max_bytes // LARGEST_SHARE, LARGEST_BYTES)

    def check(self) -> None:
        """Raise PermissionError when others could have written here. What is not there yet is fine."""
        for depth, folder in enumerate(self._chain):
            try:
                status = folder.lstat() if depth else folder.stat()
            except FileNotFoundError:
                return
            if not stat.S_ISDIR(status.st_mode):
                raise PermissionError(f"{self._shown(depth)} is no folder")
            if status.st_uid != os.geteuid():
                raise PermissionError(f"{self._shown(depth)} belongs to another user")
            if status.st_mode & (0o077 if depth else 0o022):
                wanted = "0700" if depth else "writable by its owner only"
                raise PermissionError(
                    f"{self._shown(depth)} has the mode {stat.S_IMODE(status.st_mode):04o}, not {wanted}"
                )

    def has_any(self, group: str) -> bool:
        """Whether there may be an entry of ``group`` (a hash). Raises OSError, as all methods here do."""
        self.check()
        try:
            return any(name.startswith(group) for name in os.listdir(self._shard(group)))
        except FileNotFoundError:
            return False

    def read(self, group: str, key: str) -> bytes | None:
        """The entry's content; None if there is none. A damaged one is removed and is none."""
        self.check()
        path = self._path(group, key)
        try:
            with os.fdopen(open_regular(path, follow_links=False), "rb") as file:
                seal, _, content = file.read().partition(b"\n")
        except FileNotFoundError:
            return None
        if seal != _seal(path.name, content):
            path.unlink(missing_ok=True)
            return None
        # Lost to whoever removes entries just now: it was read all the same.
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)
        return content

    def write(self, group: str, key: str, content: bytes) -> None:
        """Keep ``content``, unless it is too large or the folder too busy; may remove other entries."""
        if len(content) > self.largest_entry_bytes:
            return
        self._make()
        path = self._path(group, key)
        sealed = _seal(path.name, content) + b"\n" + content
        if not self._make_room(len(sealed)):
            return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        try:
            # No fsync: after a power failure the seal tells, and an entry can be computed again.
            with os.fdopen(descriptor, "wb") as file:
                file.write(sealed)
            Path(temporary).replace(path)
        except BaseException:  # clean-up: no interrupt leaves the temporary file
            Path(temporary).unlink(missing_ok=True)
            raise

    def remove(self, group: str, key: str) -> None:
        """Forget an entry; one that is not there is no error."""
        self._path(group, key).unlink(missing_ok=True)

    def _make(self) -> None:
        self._chain[0].mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in self._chain[1:]:
            folder.mkdir(mode=0o700, exist_ok=True)
        self.check()

    def _make_room(self, size_bytes: int) -> bool:
        """Count the entry; when the folder would be too full, bring it down to three quarters first.

        The count is a sum of what was written, so at worst it is too high: then it is taken anew.
        """
        with self._locked_usage() as usage:
            if usage is None:
                return False
            needed = _on_disk(size_bytes)
            counted = _count(os.pread(usage, 32, 0))
            if counted is None or counted + needed > self.max_bytes:
                counted = self._remove_oldest(self.max_bytes, needed)
            os.pwrite(usage, f"{counted + needed:>31}\n".encode(), 0)
        return True

    @contextlib.contextmanager
    def _locked_usage(self) -> Iterator[int | None]:
        """The file of the count, locked; None when another process holds it for long."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.root / _USAGE, flags, 0o600)
        try:
            yield descriptor if _lock(descriptor) else None
        finally:
            os.close(descriptor)

    def _remove_oldest(self, max_bytes: int, needed: int) -> int:
        """Remove what was not used for longest if there is too much; returns the bytes that stay."""
        entries = sorted(self._entries(), reverse=True)
        total = sum(size for _, size, _ in entries)
        if total + needed <= max_bytes:
            return total
        while entries and total + needed > max_bytes * 3 // 4:
            _, size, path = entries.pop()
            Path(path).unlink(missing_ok=True)
            total -= size
        return total

    def _entries(self) -> Iterator[tuple[int, int, str]]:
        """When it was used, its bytes on the disk and its path, for each entry; abandoned files go."""
        abandoned_ns = time.time_ns() - int(ABANDONED_S * 1e9)
        for shard in (name for name in os.listdir(self.root) if name != _USAGE):
            with os.scandir(self.root / shard) as files:
                for file in files:
                    try:
                        status = file.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # another process was faster
                    if not file.name.startswith("."):
                        yield status.st_mtime_ns, _on_disk(status.st_size), file.path
                    elif status.st_mtime_ns < abandoned_ns:
                        Path(file.path).unlink(missing_ok=True)

    def _shard(self, group: str) -> Path:
        return self.root / group[:2]

    def _path(self, group: str, key: str) -> Path:
        return self._shard(group) / f"{group}-{key}"

    def _shown(self, depth: int) -> str:
        return "/".join(("DATA_DIR", *self._chain[depth].relative_to(self._chain[0]).parts))


def _seal(name: str, content: bytes) -> bytes:
    digest = hashlib.sha256(name.encode() + b"\n")
    digest.update(content)
    return digest.hexdigest().encode()


def _on_disk(size_bytes: int) -> int:
    return max(1, -(-size_bytes // BLOCK_BYTES)) * BLOCK_BYTES


def _count(text: bytes) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _lock(descriptor: int) -> bool:
    """Take the lock, waiting a little: a process that is stopped while it holds it must not stop us."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        else:
            return True
