"""A table to draw: an artifact's CSV read back, and its texts made fit to stand in a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from unicodedata import combining

MOST_LABEL_CHARACTERS = 24
# Beyond, the arithmetic of an axis overflows.
DRAWABLE = 1e100


class UndrawableError(ValueError):
    """Raised when a table is not in the form that its figure needs; says why."""


@dataclass(frozen=True)
class DrawnTable:
    """A header, rows of texts, and how many rows there were before the table was cut.

    ``legible`` says of a character whether a picture can show it as it is.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    rows_in_all: int
    legible: Callable[[str], bool] = str.isprintable

    def texts(self, name: str) -> list[str]:
        """A column, each text as a picture may show it. Raises UndrawableError if there is none."""
        at = self._at(name)
        return [self.shown(row[at]) for row in self.rows]

    def numbers(self, name: str) -> list[float | None]:
        """A column of numbers, None for what an axis cannot show. Raises UndrawableError."""
        at = self._at(name)
        return [as_number(row[at], name) for row in self.rows]

    def counts(self, name: str) -> list[float]:
        """A column of counts. Raises UndrawableError."""
        at = self._at(name)
        return [as_count(row[at]) for row in self.rows]

    def shown(self, text: str) -> str:
        """``text`` on one line and short; what is not legible as an escape."""
        head = text[: MOST_LABEL_CHARACTERS + 1]
        pairs = zip(" " + head, head, strict=False)
        plain = "".join(char if self._stands(before, char) else ascii(char)[1:-1] for before, char in pairs)
        return plain if len(plain) <= MOST_LABEL_CHARACTERS else plain[: MOST_LABEL_CHARACTERS - 1] + "…"

    def _stands(self, before: str, char: str) -> bool:
        """Whether ``char`` is shown as it is; of marks over one another only the first, lest they pile up."""
        return self.legible(char) and not (combining(char) and combining(before))

    def of_how_many(self, what: str) -> str:
        """``2,000 of 10,000 rows``; how many there are if all are there."""
        shown, in_all = len(self.rows), max(self.rows_in_all, len(self.rows))
        return f"{shown:,} of {in_all:,} {what}" if shown < in_all else f"{shown:,} {what}"

    def characters(self) -> frozenset[str]:
        """Every character that may come to be shown."""
        texts = (text[: MOST_LABEL_CHARACTERS + 1] for row in (self.header, *self.rows) for text in row)
        return frozenset().union(*texts)

    def _at(self, name: str) -> int:
        if name not in self.header:
            raise UndrawableError(f"it has no column {name}")
        return self.header.index(name)


def read_drawn_table(content: bytes, rows_in_all: int | None) -> DrawnTable:
    """A CSV with a header and rows of the same length. Raises UndrawableError."""
    try:
        header, *rows = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
    except (ValueError, csv.Error) as exc:  # no UTF-8, no row, no CSV
        raise UndrawableError("it is no CSV table") from exc
    if any(len(row) != len(header) for row in rows) or not header:
        raise UndrawableError("its rows are not as long as its header")
    if not rows:
        raise UndrawableError("it has no rows")
    return DrawnTable(header, rows, len(rows) if rows_in_all is None else rows_in_all)


def short_count(count: float) -> str:
    """``9,999``, then ``12.3k``, ``4.5M``, ``2e+09``: what fits a cell."""
    if count >= 1e9:
        return f"{count:.0e}"
    if count < 10_000:
        return f"{count:,.0f}"
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e3:.1f}k"


def as_count(text: str) -> float:
    """A field's count, 0 where it is empty. Raises UndrawableError for a negative one."""
    count = as_number(text, "of counts") or 0.0
    if count < 0:
        raise UndrawableError("a count in it is negative")
    return count


def as_number(text: str, column: str) -> float | None:
    """A field's number, None for what an axis cannot show. Raises UndrawableError."""
    try:
        number = float(text or "nan")
    except ValueError as exc:
        raise UndrawableError(f"the column {column} does not hold numbers") from exc
    return number if abs(number) < DRAWABLE else None
