"""Whether a CSV file is plainly regular: checks on its bytes that allow a lenient parser to be trusted."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscorer.reading.text import BOM

# Fits the cache; and as every window holds a line end, no field reaches the csv module's 131,072 characters.
WINDOW_BYTES = 65_536
_NEWLINE, _COMMA, _DIGIT_ONE = 10, 44, 49

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class RegularCsv:
    """UTF-8 text without quotes, NUL and carriage returns, ``rows`` lines after ``header``, none blank.

    All lines together have as many commas as they should; with three columns and more each line does.
    ``starts_with_integers``: every row begins with 1–9, but for one that may begin with ``0,``.
    """

    content: bytes
    header: tuple[str, ...]
    rows: int
    starts_with_integers: bool

    @property
    def has_blanks(self) -> bool:
        """Whether there is a space or a tab anywhere, which polars skips before a number."""
        return b" " in self.content or b"\t" in self.content


def regular_csv(content: bytes) -> RegularCsv | None:
    """The file, if it is plainly regular, else None. None says nothing about whether it is valid."""
    content = content.removeprefix(BOM)
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
    if any(byte in content for byte in (b"\r", b'"', b"\0")) or content[:1] in (b"", b"<"):
        return None
    if not content.endswith(b"\n"):
        content += b"\n"
    header = _header(content)
    if header is None or not _is_utf8(content):
        return None
    counts = _count(np.frombuffer(content, dtype=np.uint8))
    width = len(header)
    if counts is None or counts.commas != (counts.rows + 1) * (width - 1):
        return None
    if width > 2 and not _is_rectangular(np.frombuffer(content, dtype=np.uint8), width):
        return None
    return RegularCsv(content, header, counts.rows, _starts_with_integers(content, counts))


def _header(content: bytes) -> tuple[str, ...] | None:
    try:
        names = content[: content.index(b"\n")].decode().split(",")
    except UnicodeDecodeError:
        return None
    return tuple(names) if len(names) >= 2 and len(set(names)) == len(names) else None


def _is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(content), 2**20):
            decoder.decode(content[start : start + 2**20], final=start + 2**20 >= len(content))
    except UnicodeDecodeError:
        return False
    return True


@dataclass
class _Counts:
    """``digit_starts``: rows that begin with 1–9; ``odd_window``: where the last one that does not begins."""

    rows: int = 0
    commas: int = 0
    digit_starts: int = 0
    odd_window: int = 0


def _count(content: Bytes) -> _Counts | None:
    """Counts over all bytes, the last of which is a line end; None if a window holds no line end."""
    counts = _Counts()
    for start in range(0, len(content) - 1, WINDOW_BYTES):
        # One byte more than the window: what follows a line end is the start of a row.
        window = content[start : start + WINDOW_BYTES + 1]
        ends = window[:-1] == _NEWLINE
        rows = int(np.count_nonzero(ends))
        if rows == 0 and len(window) > WINDOW_BYTES:
            return None
        counts.rows += rows
        counts.commas += int(np.count_nonzero(window[:-1] == _COMMA))
        # Unsigned: everything below "1" wraps around to the top.
        ends &= (window[1:] - np.uint8(_DIGIT_ONE)) < 9
        digit_starts = int(np.count_nonzero(ends))
        counts.digit_starts += digit_starts
        if digit_starts != rows:
            counts.odd_window = start
    return counts


def _starts_with_integers(content: bytes, counts: _Counts) -> bool:
    if counts.digit_starts == counts.rows:
        return True
    window = content[counts.odd_window : counts.odd_window + WINDOW_BYTES + 2]
    return counts.rows - counts.digit_starts == 1 and b"\n0," in window


def _is_rectangular(content: Bytes, width: int) -> bool:
    """Whether commas and line ends alternate so that every line has ``width`` fields."""
    seen = 0
    for start in range(0, len(content), WINDOW_BYTES):
        window = content[start : start + WINDOW_BYTES]
        is_end = window == _NEWLINE
        ends: NDArray[Any] = is_end[is_end | (window == _COMMA)]
        due = ends[(width - 1 - seen) % width :: width]
        if not due.all() or np.count_nonzero(ends) != len(due):
            return False
        seen += len(ends)
    return True
