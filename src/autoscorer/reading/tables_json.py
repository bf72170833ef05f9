"""A table delivered as JSON: a list of objects with ``id`` and the wanted value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autoscorer.reading.source import Source
from autoscorer.reading.strict import strict_json
from autoscorer.reading.table import ID, Columns, Table, choose_column
from autoscorer.reading.text import SHOWN_OFFENDERS, shown
from autoscorer.schemas.result import canonical_json
from autoscorer.utils.errors import AutoscorerError

LABEL_EXAMPLE = '[{"id": "1", "label": "cat"}]'
VALUE_EXAMPLE = '[{"id": "1", "label": 0.5}]'


def read_json_table(content: bytes, source: Source, wanted: Columns) -> Table:
    """``id`` and the wanted column of a JSON list of objects; further keys are ignored.

    An id or a label is a string or a whole number, whose decimal text it then is; a value is a number or
    its text. Raises AutoscorerError as `strict_json` does, and BAD_FORMAT with the index for another shape.
    """
    wanted = replace(wanted, example=VALUE_EXAMPLE if wanted.numeric else LABEL_EXAMPLE)
    records = json_records(content, source, wanted.example)
    column = choose_column(list(records[0]), wanted, source, {"index": 0}) if records else wanted.one_of[0]
    for index, record in enumerate(records):
        for key in (ID, column):
            if key not in record:
                raise _fault(source, index, f"the object has no key {key!r}", [key], wanted.example)
    ids = _texts(records, ID, (str, int), source, wanted.example)
    kinds = (str, int, float) if wanted.numeric else (str, int)
    texts = _texts(records, column, kinds, source, wanted.example)
    return Table(source, wanted, column, "index", ids, texts, range(len(records)))


def json_records(content: bytes, source: Source, example: str) -> list[dict[str, Any]]:
    """The objects of the list, none of them checked for its keys. Raises as `read_json_table` does."""
    document = strict_json(content, source)
    if not isinstance(document, list):
        message = f"{source.name} holds {_kind(document)}, not a list of objects"
        raise source.fault("BAD_FORMAT", message, {"expected": "a list of objects", "example": example})
    for index, record in enumerate(document):
        if not isinstance(record, dict):
            raise _fault(source, index, f"the entry is {_kind(record)}, not an object", [], example)
    return document


def is_json(source: Source) -> bool:
    """Whether the file is to be read as JSON: by the ending of its name."""
    return source.path.suffix.lower() == ".json"


def json_text(value: Any) -> str:
    """A JSON value as the text a CSV field would have: strings as they are, everything else canonical."""
    return value if isinstance(value, str) else canonical_json(value)


def _texts(
    records: list[dict[str, Any]], key: str, kinds: tuple[type, ...], source: Source, example: str
) -> list[str]:
    values = [record[key] for record in records]
    for index, value in enumerate(values):
        # bool is an int to Python, not to JSON.
        if type(value) not in kinds:
            what = f"{key} is {_kind(value)}"
            raise _fault(source, index, what, [canonical_json(value)[:200]], example)
        if type(value) is str and "\0" in value:
            raise _fault(source, index, f"{key} holds a NUL character", [value], example)
    return [value if type(value) is str else repr(value) for value in values]


def _fault(source: Source, index: int, what: str, offenders: list[str], example: str) -> AutoscorerError:
    named = "".join(f" ({shown(text)})" for text in offenders[:1])
    return source.fault(
        "BAD_FORMAT",
        f"{source.name}, index {index}: {what}{named}; expected objects like {example[1:-1]}",
        {
            "index": index,
            "offenders": offenders[:SHOWN_OFFENDERS],
            "expected": "a list of objects",
            "example": example,
        },
    )


def _kind(value: Any) -> str:
    """What JSON calls ``value``, with its article."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    kinds = {dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number"}
    return kinds[type(value)]
