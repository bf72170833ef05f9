"""A table of texts as it was delivered, and the faults that any table can have."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoscorer.reading.source import Source
from autoscorer.reading.text import SHOWN_OFFENDERS, shown
from autoscorer.utils.errors import AutoscorerError

ID = "id"
# ASCII digits only: float() alone would take '1_000', 'nan' and the digits of every script.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Columns:
    """What a scorer needs beside ``id``: one of ``one_of`` (nothing when empty), as in ``example``."""

    one_of: tuple[str, ...]
    example: str
    numeric: bool = False


LABELS = Columns(("label",), "id,label\n1,cat\n2,dog\n")
VALUES = Columns(("label", "value"), "id,label\n1,0.5\n2,-3e2\n", numeric=True)


@dataclass(frozen=True)
class Table:
    """Columns of equal length in file order. ``places`` are lines (from 1) or indexes (from 0)."""

    source: Source
    wanted: Columns
    column: str
    unit: str
    ids: list[str]
    texts: list[str]
    places: Sequence[int]

    def ids_of(self, rows: Sequence[int]) -> list[str]:
        """The ids of these rows (positions)."""
        return [self.ids[row] for row in rows]

    def fault(
        self, rows: Sequence[int], offenders: Sequence[str], what: str, expected: str
    ) -> AutoscorerError:
        """BAD_FORMAT for ``rows`` (positions): names the first place, the first offenders and how many."""
        first = self.places[rows[0]]
        names = ", ".join(shown(text) for text in offenders[:SHOWN_OFFENDERS])
        total = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
        places = [self.places[row] for row in rows[:SHOWN_OFFENDERS]]
        return self.source.fault(
            "BAD_FORMAT",
            f"{self.source.name}, {self.unit} {first}: {what}: {names}{total}; expected {expected}",
            {
                self.unit: first,
                "places": places,
                "offenders": list(offenders[:SHOWN_OFFENDERS]),
                "count": len(rows),
                "expected": expected,
                "example": self.wanted.example,
            },
        )


def choose_column(header: Sequence[str], wanted: Columns, source: Source, place: dict[str, int]) -> str:
    """The column of ``wanted.one_of`` that ``header`` has, "" when none is asked for.

    Raises AutoscorerError BAD_FORMAT: a name twice, no ``id``, none or several of ``one_of``.
    """
    where = {**place, "columns": list(header[:20]), "example": wanted.example}
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        message = f"{source.name}: the column {', '.join(map(shown, twice[:SHOWN_OFFENDERS]))} stands twice"
        raise source.fault("BAD_FORMAT", message, where | {"offenders": twice[:SHOWN_OFFENDERS]})
    for name, alternatives in ((ID, (ID,)), *(((wanted.one_of[0], wanted.one_of),) if wanted.one_of else ())):
        if not set(alternatives) & set(header):
            raise _missing_column(header, name, wanted, source, where)
    found = [name for name in wanted.one_of if name in header]
    if len(found) > 1:
        message = f"{source.name} has both columns {' and '.join(found)}: keep one of them"
        raise source.fault("BAD_FORMAT", message, where | {"offenders": found})
    return found[0] if found else ""


def _missing_column(
    header: Sequence[str], name: str, wanted: Columns, source: Source, where: dict[str, Any]
) -> AutoscorerError:
    folded = {column.strip().casefold(): column for column in header[:1000]}
    near = difflib.get_close_matches(name, folded, n=1)
    guess = f"; did you mean {shown(folded[near[0]])}?" if near else ""
    if len(header) == 1 and re.search(r"[;\t|]", header[0]):
        guess = "; columns are separated by commas"
    has = ", ".join(shown(column) for column in header[:SHOWN_OFFENDERS])
    message = f"{source.name} has no column {name!r}, only {has}{guess}"
    return source.fault(
        "BAD_FORMAT", message, where | {"expected": f"a column {name!r}", "offenders": [name]}
    )


def check_texts(table: Table) -> None:
    """Nothing, if every row has a value. Raises AutoscorerError BAD_FORMAT with the ids that lack one."""
    empty = [row for row, text in enumerate(table.texts) if not text]
    if empty:
        names = [table.ids[row] for row in empty]
        raise table.fault(empty, names, f"{table.column} is empty for id", "a value in every row")


def parse_numbers(table: Table) -> list[float]:
    """The texts as finite floats.

    Raises AutoscorerError BAD_FORMAT for anything but an ASCII decimal number without spaces, and for
    one beyond the range of a 64-bit float.
    """
    is_number = _NUMBER.fullmatch
    bad = [row for row, text in enumerate(table.texts) if not is_number(text)]
    if bad:
        raise table.fault(
            bad,
            [table.texts[row] for row in bad],
            f"{table.column} is not a number",
            "a plain decimal number such as -3.5 or 2e-3, without spaces",
        )
    values = [float(text) for text in table.texts]
    bad = [row for row, value in enumerate(values) if not math.isfinite(value)]
    if bad:
        raise table.fault(
            bad,
            [table.texts[row] for row in bad],
            f"{table.column} is too large",
            "a number that a 64-bit float holds (up to 1.8e308)",
        )
    return values
