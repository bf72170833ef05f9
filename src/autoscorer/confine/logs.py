"""What a program prints, kept in bounded space: head and tail of all of it, the last lines of stderr."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import BinaryIO

from autoscorer.utils.artifacts import create_fresh

STDERR_TAIL_BYTES = 4096
STDERR_TAIL_LINES = 20
_MARKER_BYTES = 80  # room for the line that says how much is missing


class Tail:
    """The last ``capacity`` bytes of a stream, in at most twice that memory."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept = bytearray()
        self.seen_bytes = 0

    def write(self, chunk: bytes | memoryview) -> None:
        self.seen_bytes += len(chunk)
        self._kept += chunk[-self._capacity :] if self._capacity else b""
        # One buffer, trimmed seldom: a list of chunks costs 40 bytes for each byte printed alone.
        if len(self._kept) > 2 * self._capacity:
            del self._kept[: -self._capacity or None]

    def content(self) -> bytes:
        return bytes(self._kept[-self._capacity :]) if self._capacity else b""


class HeadTailLog:
    """A log file of at most ``max_bytes``: the head as it comes, the tail when it is closed.

    Between them one line says how many bytes are missing. A full disk loses the rest of the log and
    nothing else: the program may have filled it, and must not become our fault by it.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._file: BinaryIO = create_fresh(path)
        self._head_left = max_bytes // 2
        self._tail = Tail(max(0, max_bytes - max_bytes // 2 - _MARKER_BYTES))
        self._lost_bytes = 0

    def write(self, chunk: memoryview) -> None:
        head, rest = chunk[: self._head_left], chunk[self._head_left :]
        if head:
            self._head_left -= len(head)
            self._put(head)
        if rest:
            self._tail.write(rest)

    def close(self) -> int:
        """Write the tail; the number of bytes that are not in the file. Safe to call twice."""
        if not self._file.closed:
            content = self._tail.content()
            missing = self._tail.seen_bytes - len(content)
            if missing:
                self._put(f"\n[... {missing} bytes left out here ...]\n".encode(), counts=False)
            self._put(content)
            self._lost_bytes += missing
            self._file.close()
        return self._lost_bytes

    def _put(self, content: bytes | memoryview, *, counts: bool = True) -> None:
        try:
            written = self._file.write(content)
        except OSError:
            written = 0
        if counts:
            self._lost_bytes += len(content) - written


def readable_tail(content: bytes, *, lines: int = STDERR_TAIL_LINES) -> str:
    """The last ``lines`` of ``content`` as text that cannot drive a terminal or break JSON.

    Bytes that are no UTF-8 are replaced; control and format characters are escaped, except newline
    and tab.
    """
    text = content.decode("utf-8", errors="replace").replace("\r\n", "\n")
    return "\n".join(_escaped(line) for line in text.rstrip("\n").split("\n")[-lines:])


def _escaped(line: str) -> str:
    return "".join(
        char if char == "\t" or unicodedata.category(char)[0] != "C" else ascii(char)[1:-1] for char in line
    )
