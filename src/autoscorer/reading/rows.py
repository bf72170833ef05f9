"""Whole rows by id, every column as text: what scorers written by others work on."""

from __future__ import annotations

from collections.abc import Sequence

from autoscorer.reading.ids import positions
from autoscorer.reading.source import Source
from autoscorer.reading.strict import csv_rows
from autoscorer.reading.table import ID, LABELS, Columns, Table, check_texts, choose_column
from autoscorer.reading.tables_json import LABEL_EXAMPLE, is_json, json_records, json_text, read_json_table


class Rows(dict[str, dict[str, str]]):
    """``{id: {column: text}}`` in file order; remembers the file for later faults."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source


def read_rows(source: Source, required: Sequence[str] = ("label",)) -> Rows:
    """Read a CSV or JSON table; every row has an id of its own and a value in each ``required`` column.

    Raises AutoscorerError MISSING_FILE, PARSE_ERROR or BAD_FORMAT.
    """
    content = source.read()
    wanted = [Columns((name,), LABELS.example.replace("label", name)) for name in required]
    if is_json(source):
        return _json_rows(content, source, wanted)
    header, lined = csv_rows(content, source, LABELS.example)
    for columns in wanted or [Columns((), LABELS.example)]:
        choose_column(header, columns, source, {"line": 1})
    numbered = list(lined)
    rows = [dict(zip(header, fields, strict=True)) for _, fields in numbered]
    return _checked(rows, wanted, source, "line", [line for line, _ in numbered])


def _json_rows(content: bytes, source: Source, wanted: Sequence[Columns]) -> Rows:
    for columns in wanted:
        read_json_table(content, source, columns)
    records = json_records(content, source, LABEL_EXAMPLE)
    rows = [{key: json_text(value) for key, value in record.items()} for record in records]
    return _checked(rows, wanted, source, "index", range(len(rows)))


def _checked(
    rows: Sequence[dict[str, str]],
    wanted: Sequence[Columns],
    source: Source,
    unit: str,
    places: Sequence[int],
) -> Rows:
    ids = [row[ID] for row in rows]
    positions(Table(source, LABELS, "", unit, ids, ids, places))
    for columns in wanted:
        name = columns.one_of[0]
        check_texts(Table(source, columns, name, unit, ids, [row[name] for row in rows], places))
    keyed = Rows(source)
    keyed.update(zip(ids, rows, strict=True))
    return keyed
