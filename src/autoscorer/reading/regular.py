"""Whether a CSV file is plainly regular: checks on its bytes that allow a lenient parser to be trusted."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscorer.reading.text import BOM

WINDOW_BYTES = 2**19
BLOCK_BYTES = 65_536
_NEWLINE, _COMMA, _DIGIT_ONE = 10, 44, 49

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class RegularCsv:
    """UTF-8 text with ``rows`` lines after ``header``, of which polars may parse any two columns.

    If each row then has all its values, it is certain that there are no quotes, NUL, carriage returns,
    blank rows or rows with more fields. ``starts_with_integers``: every row begins with 1–9, but for one
    that may begin with ``0,``. ``has_blanks``: there may be a space or a tab, which polars skips
    before a number.
    """

    content: bytes
    header: tuple[str, ...]
    rows: int
    starts_with_integers: bool
    has_blanks: bool


def regular_csv(content: bytes) -> RegularCsv | None:
    """The file, if it is plainly regular, else None. None says nothing about whether it is valid."""
    content = content.removeprefix(BOM)
    if content[:1] in (b"", b"<"):
        return None
    if not content.endswith(b"\n"):
        content += b"\n"
    if b"\r\n" in content[: content.index(b"\n") + 1]:
        content = content.replace(b"\r\n", b"\n")
    header = _header(content)
    if header is None or _has_long_lines(content) or not _is_utf8(content):
        return None
    counts = _count(np.frombuffer(content, dtype=np.uint8))
    # In two columns, if every row has a second value, that many bytes up to "," are all line ends and commas.
    is_bare = len(header) == 2 and counts.low_bytes == 2 * counts.rows + 1
    if not is_bare and not _is_plain(content, len(header)):
        return None
    return RegularCsv(
        content=content,
        header=header,
        rows=counts.rows,
        starts_with_integers=_starts_with_integers(content, counts),
        has_blanks=not is_bare and (b" " in content or b"\t" in content),
    )


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
    """All but the last byte of a file. ``low_bytes``: those up to "," in ASCII, line ends among them.

    ``digit_starts``: rows that begin with 1–9; ``odd_window``: where the last row that does not is.
    """

    rows: int = 0
    low_bytes: int = 0
    digit_starts: int = 0
    odd_window: int = 0


def _count(content: Bytes) -> _Counts:
    """Counts over all bytes, the last of which is a line end."""
    counts = _Counts()
    # Two files are counted at once: large windows and no new memory keep the threads off each other's lock.
    first, second = (np.empty(WINDOW_BYTES, dtype=np.bool_) for _ in range(2))
    for start in range(0, len(content) - 1, WINDOW_BYTES):
        # One byte more than the window: what follows a line end is the start of a row.
        window = content[start : start + WINDOW_BYTES + 1]
        ends, other = first[: len(window) - 1], second[: len(window) - 1]
        rows = int(np.count_nonzero(np.equal(window[:-1], _NEWLINE, out=ends)))
        counts.rows += rows
        counts.low_bytes += int(np.count_nonzero(np.less_equal(window[:-1], _COMMA, out=other)))
        # Unsigned: everything below "1" wraps around to the top.
        above = np.subtract(window[1:], np.uint8(_DIGIT_ONE), out=other.view(np.uint8))
        digit_starts = int(np.count_nonzero(np.logical_and(ends, np.less(above, 9, out=other), out=ends)))
        counts.digit_starts += digit_starts
        if digit_starts != rows:
            counts.odd_window = start
    return counts


def _has_long_lines(content: bytes) -> bool:
    """Whether a field may reach the csv module's 131,072 characters: half of that without a line end."""
    blocks = range(0, len(content) - BLOCK_BYTES, BLOCK_BYTES)
    return any(content.find(b"\n", start, start + BLOCK_BYTES) < 0 for start in blocks)


def _starts_with_integers(content: bytes, counts: _Counts) -> bool:
    if counts.digit_starts == counts.rows:
        return True
    window = content[counts.odd_window : counts.odd_window + WINDOW_BYTES + 2]
    return counts.rows - counts.digit_starts == 1 and b"\n0," in window


def _is_plain(content: bytes, width: int) -> bool:
    """Whether there is nothing to interpret, and commas and line ends give every line ``width`` fields."""
    if any(byte in content for byte in (b"\r", b'"', b"\0")):
        return False
    seen = 0
    for start in range(0, len(content), BLOCK_BYTES):
        window = np.frombuffer(content, np.uint8, min(BLOCK_BYTES, len(content) - start), start)
        is_end = window == _NEWLINE
        ends: NDArray[Any] = is_end[is_end | (window == _COMMA)]
        due = ends[(width - 1 - seen) % width :: width]
        if not due.all() or np.count_nonzero(ends) != len(due):
            return False
        seen += len(ends)
    return True
