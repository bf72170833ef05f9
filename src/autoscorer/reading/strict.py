"""The strict reader: the definition of what a delivered table or JSON document means, and of each fault."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

from autoscorer.reading.source import Source
from autoscorer.reading.table import ID, Columns, Table, choose_column
from autoscorer.reading.text import decode_text, shown
from autoscorer.utils.errors import AutoscorerError

JSON_EXAMPLE = '[{"id": "1", "label": "cat"}]'
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_STRING_OR_BARE = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"{}\[\],:]+')
# How a csv.Error begins, and what we say instead.
_CSV_FAULTS = {
    "unexpected end of data": "a quoted field begins here and is never closed",
    "',' expected after": "text follows a closing quote",
    "new-line character seen": "a carriage return inside the line; end lines with LF or CRLF",
    "field larger than": "a field of more than 131,072 characters; is a quote not closed?",
}


class _RejectedError(ValueError):
    """Raised inside the parser's hooks; becomes an AutoscorerError with the file's name and line."""

    def __init__(self, code: str, what: str, token: str) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.token = token

    def line(self, text: str) -> int | None:
        """The line of the first ``token`` outside a string; the parser's hooks are not told where it is."""
        found = (match.start() for match in _STRING_OR_BARE.finditer(text) if match.group() == self.token)
        start = next(found, None)
        return None if start is None else text.count("\n", 0, start) + 1


def strict_json(data: bytes, source: Source) -> Any:
    """The value of one UTF-8 JSON document; a byte order mark is fine.

    Raises AutoscorerError: PARSE_ERROR for anything the JSON grammar does not allow (NaN, Infinity,
    text after the value), duplicate keys, lone surrogates and nesting deeper than the interpreter's stack;
    BAD_FORMAT for an empty file and for a number that no 64-bit float holds.
    """
    text = decode_text(data, source, example=JSON_EXAMPLE)
    details = {"expected": "one JSON document (RFC 8259)", "example": JSON_EXAMPLE}
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
        )
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as exc:
        message = f"{source.name}, line {exc.lineno}, column {exc.colno}: not JSON: {exc.msg}"
        raise source.fault("PARSE_ERROR", message, {"line": exc.lineno} | details) from exc
    except UnicodeEncodeError as exc:
        message = f"{source.name} holds half of a surrogate pair (\\ud800–\\udfff)"
        raise source.fault("PARSE_ERROR", message, details) from exc
    except _RejectedError as exc:
        line = exc.line(text)
        where = f"{source.name}, line {line}" if line else source.name
        raise source.fault(
            exc.code, f"{where}: {exc.what}", ({"line": line} if line else {}) | details
        ) from exc
    except RecursionError as exc:
        raise source.fault("PARSE_ERROR", f"{source.name} is nested too deeply", details) from exc
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        # Which of the file's keys of that name it is, the hook is not told: no line.
        raise _RejectedError("PARSE_ERROR", f"the key {shown(twice)} stands twice in one object", "")
    return mapping


def _no_constant(text: str) -> NoReturn:
    raise _RejectedError("PARSE_ERROR", f"{text} is not JSON; every number must be finite", text)


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _RejectedError("BAD_FORMAT", f"the number {shown(text)} is too large for a 64-bit float", text)
    return number


def _bounded_int(text: str) -> int:
    # int() is quadratic in the digits; 309 is where a float overflows too.
    if len(text) > 309:
        raise _RejectedError("BAD_FORMAT", f"the number {shown(text)} is too large for a 64-bit float", text)
    return int(text)


def read_csv(content: bytes, source: Source, wanted: Columns) -> Table:
    """``id`` and the wanted column of a CSV file, by Python's csv module in strict mode (RFC 4180).

    Lines end with LF or CRLF; columns stand in any order, further ones are ignored. Raises
    AutoscorerError: PARSE_ERROR where the bytes are no CSV text, BAD_FORMAT for a wrong header and for
    ragged or blank rows.
    """
    header, rows = csv_rows(content, source, wanted.example)
    column = choose_column(header, wanted, source, {"line": 1})
    id_at, text_at = header.index(ID), header.index(column)
    ids: list[str] = []
    texts: list[str] = []
    lines = array("q")
    for line, row in rows:
        ids.append(row[id_at])
        texts.append(row[text_at])
        lines.append(line)
    return Table(source, wanted, column, "line", ids, texts, lines)


def csv_rows(
    content: bytes, source: Source, example: str
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header, and an iterator over (line where the row begins, fields). Raises as `read_csv` does."""
    rows = _rows(decode_text(content, source, example=example), source, example)
    _, header = next(rows)
    return header, rows


def _rows(text: str, source: Source, example: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with their first line. Every row has as many fields as the first."""
    # newline="\n": a lone CR is no line end, so the csv module complains of it.
    reader = csv.reader(io.StringIO(text, newline="\n"), strict=True)
    width, line = 0, 1
    try:
        for row in reader:
            if len(row) != (width or len(row)) or not row:
                raise _ragged(row, width, line, source, example)
            width = len(row)
            yield line, row
            line = reader.line_num + 1
    except csv.Error as exc:
        what = next((ours for theirs, ours in _CSV_FAULTS.items() if str(exc).startswith(theirs)), str(exc))
        details = {"line": line, "expected": "CSV (RFC 4180)", "example": example}
        raise source.fault("PARSE_ERROR", f"{source.name}, line {line}: {what}", details) from exc


def _ragged(row: list[str], width: int, line: int, source: Source, example: str) -> AutoscorerError:
    found = f"{len(row)} fields where the header has {width}" if row else "the row is blank"
    details = {"line": line, "offenders": [",".join(row)[:200]], "example": example}
    expected = {"expected": f"{width} fields in every row" if width else "a header"}
    return source.fault("BAD_FORMAT", f"{source.name}, line {line}: {found}", details | expected)
