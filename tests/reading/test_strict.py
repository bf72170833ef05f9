"""The strict reader: what it accepts, and the code, line and words for each fault."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscorer.reading.source import Role, Source
from autoscorer.reading.strict import csv_rows, read_csv, strict_json
from autoscorer.reading.table import LABELS, VALUES
from autoscorer.utils.errors import AutoscorerError, Blame

CSV = Source(Role.PREDICTION, "output/pred.csv", Path("pred.csv"))
JSON = Source(Role.PREDICTION, "output/pred.json", Path("pred.json"))


def fault_of(content: bytes) -> AutoscorerError:
    with pytest.raises(AutoscorerError) as caught:
        read_csv(content, CSV, LABELS)
    return caught.value


ACCEPTED = {
    "plain": b"id,label\n1,cat\n2,dog\n",
    "no line end at the end": b"id,label\n1,cat\n2,dog",
    "BOM": b"\xef\xbb\xbfid,label\n1,cat\n2,dog\n",
    "CRLF": b"id,label\r\n1,cat\r\n2,dog\r\n",
    "CR CR LF of a text mode written twice": b"id,label\r\r\n1,cat\r\r\n2,dog\r\r\n",
    "mixed line ends": b"id,label\r\n1,cat\n2,dog\r\n",
    "another order": b"label,id\ncat,1\ndog,2\n",
    "further columns": b",id,label,x\n0,1,cat,\n1,2,dog,9\n",
    "quoted": b'"id","label"\n"1","cat"\n2,"dog"\n',
}


@pytest.mark.parametrize("content", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_usual_ways_to_write_a_table_mean_the_same(content: bytes) -> None:
    table = read_csv(content, CSV, LABELS)
    assert (table.ids, table.texts, list(table.places)) == (["1", "2"], ["cat", "dog"], [2, 3])


def test_a_quoted_field_may_hold_lines_commas_and_quotes_and_later_lines_count_on() -> None:
    table = read_csv(b'id,label\n"a\r\nb","c,""d"""\n2,dog\n', CSV, LABELS)
    assert (table.ids, table.texts) == (["a\r\nb", "2"], ['c,"d"', "dog"])
    assert list(table.places) == [2, 4]


FAULTS: dict[str, tuple[bytes, str, int | None, str]] = {
    "empty file": (b"", "BAD_FORMAT", None, "is empty"),
    "only a BOM": (b"\xef\xbb\xbf", "BAD_FORMAT", None, "is empty"),
    "only blank lines": (b"\n \n\n", "BAD_FORMAT", None, "is empty"),
    "UTF-16": ("id,label\n1,cat\n".encode("utf-16"), "PARSE_ERROR", 1, "UTF-16"),
    "UTF-16 without mark": ("id,label\n1,cat\n".encode("utf-16-be"), "PARSE_ERROR", 1, "UTF-16"),
    "NUL": (b"id,label\n1,c\0t\n", "PARSE_ERROR", 2, "NUL"),
    "not UTF-8": (b"id,label\n1,cat\n2,d\xf6g\n", "PARSE_ERROR", 3, "0xf6"),
    "HTML": (b"\n<!DOCTYPE html>\n<p>404</p>", "PARSE_ERROR", 1, "HTML"),
    "unterminated quote": (b'id,label\n1,"cat\n2,dog\n', "PARSE_ERROR", 2, "never closed"),
    "text after a quote": (b'id,label\n1,cat\n2,"dog"s\n', "PARSE_ERROR", 3, "closing quote"),
    "carriage returns": (b"id,label\r1,cat\r2,dog\r", "PARSE_ERROR", 1, "carriage return"),
    "huge field": (b"id,label\n1," + b"x" * 140_000 + b"\n", "PARSE_ERROR", 2, "131,072"),
    "short row": (b"id,label\n1,cat\n2\n", "BAD_FORMAT", 3, "1 fields where the header has 2"),
    "long row": (b"id,label\n1,cat,x\n", "BAD_FORMAT", 2, "3 fields where the header has 2"),
    "blank row": (b"id,label\n1,cat\n\n2,dog\n", "BAD_FORMAT", 3, "blank"),
    "blank row at the end": (b"id,label\n1,cat\n\n", "BAD_FORMAT", 3, "blank"),
    "blank header": (b"\nid,label\n", "BAD_FORMAT", 1, "blank"),
    "duplicate header": (b"id,label,label\n1,a,b\n", "BAD_FORMAT", 1, "'label' stands twice"),
    "no id": (
        b"Id,label\n1,cat\n",
        "BAD_FORMAT",
        1,
        "no column 'id', only 'Id', 'label'; did you mean 'Id'?",
    ),
    "no label": (b"id,labels\n1,cat\n", "BAD_FORMAT", 1, "did you mean 'labels'?"),
    "semicolons": (b"id;label\n1;cat\n", "BAD_FORMAT", 1, "separated by commas"),
}


@pytest.mark.parametrize(("content", "code", "line", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named_with_code_line_example_and_blame(
    content: bytes, code: str, line: int | None, words: str
) -> None:
    fault = fault_of(content)
    assert (fault.code, fault.blame) == (code, Blame.PARTICIPANT)
    assert words in fault.message
    assert fault.message.startswith("output/pred.csv")
    assert fault.details.get("line") == line
    assert fault.details["example"].startswith("id,label\n")


def test_a_number_column_may_be_called_label_or_value_but_not_both() -> None:
    assert read_csv(b"id,label\n1,2.5\n", CSV, VALUES).texts == ["2.5"]
    assert read_csv(b"value,id\n2.5,1\n", CSV, VALUES).texts == ["2.5"]
    with pytest.raises(AutoscorerError, match="both columns label and value"):
        read_csv(b"id,label,value\n1,2,3\n", CSV, VALUES)


def test_random_bytes_are_refused_by_name() -> None:
    assert fault_of(bytes(range(255, 0, -1))).code == "PARSE_ERROR"


@given(
    rows=st.lists(
        st.lists(st.text(st.characters(exclude_characters="\0\r", codec="utf-8")), min_size=2, max_size=2)
    )
)
def test_what_the_csv_module_writes_is_read_back(rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["id", "label"], *rows])
    _, read = csv_rows(text.getvalue().encode(), CSV, "")
    assert [row for _, row in read] == rows


GOOD_JSON = ["{}", "[1, 2.5, -0, 1e-400]", '"\\ud83d\\ude00"', '\ufeff[{"a": null}]', " [true]\n"]


@pytest.mark.parametrize("text", GOOD_JSON)
def test_good_json_is_read_as_the_json_module_reads_it(text: str) -> None:
    assert strict_json(text.encode(), JSON) == json.loads(text.removeprefix("\ufeff"))


BAD_JSON: dict[str, tuple[bytes, str, dict[str, Any]]] = {
    "empty": (b" ", "BAD_FORMAT", {}),
    "trailing text": (b"[1]\n]", "PARSE_ERROR", {"line": 2}),
    "duplicate key": (b'{"a": 1, "b": 2, "a": 3}', "PARSE_ERROR", {}),
    "NaN": (b"[NaN]", "PARSE_ERROR", {}),
    "Infinity": (b"[-Infinity]", "PARSE_ERROR", {}),
    "too large": (b"[1e400]", "BAD_FORMAT", {}),
    "too large an integer": (b"[" + b"9" * 5_000 + b"]", "BAD_FORMAT", {}),
    "deep lists": (b"[" * 200_000, "PARSE_ERROR", {}),
    "deep objects": (b'{"a":' * 200_000, "PARSE_ERROR", {}),
    "closed deep lists": (b"[" * 200_000 + b"]" * 200_000, "PARSE_ERROR", {}),
    "half a surrogate pair": (b'["\\ud800"]', "PARSE_ERROR", {}),
    "half a surrogate pair as key": (b'{"\\udfff": 1}', "PARSE_ERROR", {}),
    "UTF-16": ("[1]".encode("utf-16"), "PARSE_ERROR", {"line": 1}),
    "NUL": (b"[1,\n\0]", "PARSE_ERROR", {"line": 2}),
    "not UTF-8": (b'["\xff"]', "PARSE_ERROR", {"line": 1}),
    "HTML": (b"<html></html>", "PARSE_ERROR", {"line": 1}),
    "single quotes": (b"{'a': 1}", "PARSE_ERROR", {"line": 1}),
    "control character": (b'["a\tb"]', "PARSE_ERROR", {"line": 1}),
}


@pytest.mark.parametrize(("content", "code", "details"), BAD_JSON.values(), ids=BAD_JSON.keys())
def test_bad_json_is_refused_by_name(content: bytes, code: str, details: dict[str, Any]) -> None:
    with pytest.raises(AutoscorerError) as caught:
        strict_json(content, JSON)
    assert caught.value.code == code
    assert caught.value.details.items() >= details.items()
    assert len(caught.value.message) < 300


@given(st.binary(max_size=60))
def test_no_bytes_make_the_json_reader_raise_anything_else(content: bytes) -> None:
    try:
        value = strict_json(content, JSON)
    except AutoscorerError:
        return
    assert value == json.loads(content.removeprefix(b"\xef\xbb\xbf"))
