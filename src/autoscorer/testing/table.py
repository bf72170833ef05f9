"""A table as a contract alters it: read without mercy, written as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows in the order of a file, at least one, all with the same columns; ``name`` is the file's."""

    name: str
    rows: Sequence[Row]

    @classmethod
    def read(cls, name: str, content: bytes) -> Table | None:
        """The table in a file, None if that is not a regular one with ids of its own in a column `id`."""
        try:
            text = content.decode("utf-8-sig")
            rows = json.loads(text) if name.endswith(".json") else list(csv.DictReader(io.StringIO(text)))
        except (ValueError, csv.Error, RecursionError):
            return None
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            return None
        columns = list(rows[0])
        regular = all(list(row) == columns and _is_plain(row.values()) for row in rows)
        if not regular or "id" not in columns or len({row["id"] for row in rows}) != len(rows):
            return None
        return cls(name, rows)

    @property
    def is_json(self) -> bool:
        return self.name.endswith(".json")

    @property
    def ids(self) -> list[Any]:
        return [row["id"] for row in self.rows]

    @property
    def columns(self) -> list[str]:
        """All but the id."""
        return [column for column in self.rows[0] if column != "id"]

    def having(self, rows: Iterable[Row]) -> Table:
        """The same file with other rows."""
        return Table(self.name, list(rows))

    def distinct(self, column: str) -> list[Any]:
        """The values of a column, each once: numbers by size, texts by the alphabet."""
        values = {row[column] for row in self.rows}
        return sorted(values, key=float) if all(map(is_number, values)) else sorted(values, key=str)

    def encode(self) -> bytes:
        """The content of the file."""
        if self.is_json:
            return json.dumps(self.rows, ensure_ascii=False).encode()
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.rows[0])
        writer.writerows(row.values() for row in self.rows)
        return text.getvalue().encode()

    def header(self) -> bytes:
        """The content of the file without any row."""
        return b"[]" if self.is_json else self.encode().split(b"\n", 1)[0] + b"\n"


def same_meaning(truth: Table, delivered: Table) -> Mapping[str, str]:
    """The delivered columns that hold what a column of the truth holds, with that column's name.

    They are called the same, or each side has only one.
    """
    same = {column: column for column in delivered.columns if column in truth.columns}
    if not same and len(delivered.columns) == len(truth.columns) == 1:
        return {delivered.columns[0]: truth.columns[0]}
    return same


def is_number(value: Any) -> bool:
    """Whether ``value``, a number or its text, can be computed with."""
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_plain(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str | int | float) for value in values)
