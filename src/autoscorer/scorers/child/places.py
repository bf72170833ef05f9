"""The folders a scorer's process writes to, as the parent sees them: by descriptors the process sent.

Each is a file system of a size of its own in memory, so that no file in it, unlinked or not, escapes the
limit. It is gone with the process; the artifacts are taken out before.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from autoscorer.confine.watch import Written, measure
from autoscorer.utils.artifacts import create_fresh

MAX_PLACES = 8
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK_BYTES = 2**24


class Places:
    """What came through a socket whose other end the process has. Close it always: it holds the memory."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._folders: list[int] = []

    def close(self) -> None:
        """Safe to call twice."""
        while self._folders:
            os.close(self._folders.pop())
        self._channel.close()

    @property
    def artifacts(self) -> int | None:
        """The folder for artifacts; None where the process has no root of its own, or not yet."""
        if not self._folders:
            with suppress(BlockingIOError, ConnectionError):
                _, self._folders, _, _ = socket.recv_fds(self._channel, 64, MAX_PLACES, socket.MSG_DONTWAIT)
        return self._folders[0] if self._folders else None

    def held_bytes(self) -> int:
        """The memory that files in all of them take, those that were unlinked too."""
        if self.artifacts is None:
            return 0
        states = [os.fstatvfs(folder) for folder in self._folders]
        return sum((state.f_blocks - state.f_bfree) * state.f_frsize for state in states)

    def written(self, *, max_bytes: int, max_entries: int) -> Written | None:
        """What there is in the folder for artifacts, once the process has ended; None if there is none."""
        folder = self.artifacts
        return None if folder is None else measure(folder, max_bytes=max_bytes, max_entries=max_entries)

    def take_artifacts(self, target: Path) -> None:
        """Copy its plain files into ``target``; nothing else is ever taken out. Raises OSError: no room."""
        folder = self.artifacts
        for name in os.listdir(folder) if folder is not None else ():
            try:
                source = os.open(name, _OPEN, dir_fd=folder)
            except OSError:
                continue  # a link, or a file that its owner made unreadable
            try:
                if stat.S_ISREG(os.fstat(source).st_mode):
                    _copy(source, target / name)
            finally:
                os.close(source)


def _copy(source: int, target: Path) -> None:
    with create_fresh(target) as copy:
        offset = 0
        while count := os.sendfile(copy.fileno(), source, offset, _CHUNK_BYTES):
            offset += count
