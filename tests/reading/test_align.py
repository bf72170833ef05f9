"""Alignment by id: values, order, and the faults that need both files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autoscorer.reading.align import load_labels, load_values
from autoscorer.reading.aligned import AlignedLabels, AlignedValues
from autoscorer.reading.source import Role, Source
from autoscorer.utils.errors import AutoscorerError, Blame
from tests.reading.files import strict_answer

GT = b"id,label\n1,cat\n2,dog\n3,cat\n"
NUMBERS = b"id,label\n1,1.5\n2,2\n3,-1\n"


def fault(reference: bytes, prediction: bytes, *, numeric: bool = False) -> AutoscorerError:
    answer = strict_answer(reference, prediction, numeric=numeric)
    assert isinstance(answer, AutoscorerError)
    return answer


def test_columns_come_in_the_order_of_the_reference() -> None:
    answer = strict_answer(GT, b"id,label\n3,cow\n1,cat\n2,cat\n", numeric=False)
    assert isinstance(answer, AlignedLabels)
    assert answer.labels == ("cat", "cow", "dog")
    assert [answer.labels[code] for code in answer.y_true] == ["cat", "dog", "cat"]
    assert [answer.labels[code] for code in answer.y_pred] == ["cat", "cat", "cow"]


def test_numbers_come_in_the_order_of_the_reference() -> None:
    answer = strict_answer(NUMBERS, b"id,value\n3,3\n1,1e-400\n2,.5\n", numeric=True)
    assert isinstance(answer, AlignedValues)
    assert answer.y_pred.tolist() == [0.0, 0.5, 3.0]


PREDICTION_FAULTS = {
    "missing": (b"id,label\n1,cat\n3,cat\n", "1 id is missing: '2'"),
    "extra": (GT + b"4,cat\n5,cat\n", "2 ids are not in the reference: '4', '5'"),
    "both": (GT.replace(b"2,", b"9,"), "1 id is missing: '2'; 1 id is not in the reference: '9'"),
    "zero": (GT.replace(b"1,", b"01,"), "Ids are compared as text: '01' is not '1'"),
    "space": (GT.replace(b"1,", b"1 ,"), "Ids are compared as text: '1 ' is not '1'"),
    "float": (GT.replace(b"1,", b"1.0,"), "Ids are compared as text: '1.0' is not '1'"),
    "full width": (GT.replace(b"1,", "１,".encode()), "Ids are compared as text: '１' is not '1'"),
    "duplicate": (
        GT + b"1,cat\n1,dog\n",
        "line 5: the id stands in an earlier row too: '1', '1' (2 such rows)",
    ),
    "empty id": (GT.replace(b"2,", b","), "line 3: the id is empty"),
    "empty label": (GT.replace(b"dog", b""), "line 3: label is empty for id: '2'"),
    "header only": (b"id,label\n", "3 ids are missing: '1', '2', '3'"),
}


@pytest.mark.parametrize(("prediction", "words"), PREDICTION_FAULTS.values(), ids=PREDICTION_FAULTS.keys())
def test_a_fault_of_the_prediction_is_the_participants(prediction: bytes, words: str) -> None:
    answer = fault(GT, prediction)
    assert (answer.code, answer.blame) == ("BAD_FORMAT", Blame.PARTICIPANT)
    assert words in answer.message
    assert answer.details["offenders"]
    assert answer.details["example"]


REFERENCE_FAULTS = {
    "header only": (b"id,label\n", "has no rows"),
    "duplicate": (GT + b"1,cat\n", "line 5"),
    "empty label": (GT.replace(b"dog", b""), "line 3"),
}


@pytest.mark.parametrize(("reference", "words"), REFERENCE_FAULTS.values(), ids=REFERENCE_FAULTS.keys())
@pytest.mark.parametrize("prediction", [GT, b"also broken"])
def test_a_fault_of_the_reference_is_the_organisers_whatever_was_delivered(
    reference: bytes, words: str, prediction: bytes
) -> None:
    answer = fault(reference, prediction)
    assert (answer.code, answer.blame) == ("BAD_FORMAT", Blame.ORGANISER)
    assert words in answer.message


@pytest.mark.parametrize(
    "text", ["nan", "inf", "1_000", "1e400", "１", "٣", " 1", "1 ", "0x1", "true", "1,5"]
)
def test_what_is_no_plain_finite_number_is_refused_with_its_line(text: str) -> None:
    quoted = f'"{text}"' if "," in text else text
    answer = fault(NUMBERS, f"id,label\n1,1\n2,{quoted}\n3,1\n".encode(), numeric=True)
    assert answer.code == "BAD_FORMAT"
    assert answer.details["line"] == 3
    assert answer.details["offenders"] == [text]


def test_many_offenders_are_counted_and_the_first_five_shown() -> None:
    rows = b"".join(b"%d,nan\n" % row for row in range(1, 101))
    answer = fault(rows.replace(b"nan", b"1").join([b"id,label\n", b""]), b"id,label\n" + rows, numeric=True)
    assert (answer.details["count"], len(answer.details["offenders"])) == (100, 5)
    assert answer.details["places"] == [2, 3, 4, 5, 6]


def write(folder: Path, name: str, text: str) -> Source:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return Source(Role.REFERENCE if name.startswith("gt") else Role.PREDICTION, name, path)


def test_json_and_csv_go_together(tmp_path: Path) -> None:
    truth = write(tmp_path, "gt.csv", GT.decode())
    prediction = write(
        tmp_path,
        "pred.json",
        '[{"id": "3", "label": "cat"}, {"id": 1, "label": "cat", "x": []}, {"id": 2, "label": 7}]',
    )
    aligned = load_labels(truth, prediction)
    assert [aligned.labels[code] for code in aligned.y_pred] == ["cat", "7", "cat"]


def test_json_numbers_may_be_numbers_or_their_text(tmp_path: Path) -> None:
    truth = write(tmp_path, "gt.json", '[{"id": 1, "value": 0.1}, {"id": 2, "value": "-2e3"}]')
    prediction = write(tmp_path, "pred.csv", "id,label\n2,1\n1,2\n")
    aligned = load_values(truth, prediction)
    assert aligned.y_true.tolist() == [0.1, -2000.0]
    assert aligned.y_pred.tolist() == [2.0, 1.0]


BAD_RECORDS = {
    "an object": ("{}", None),
    "a number in the list": ('[{"id": 1, "label": "cat"}, 7]', 1),
    "no id": ('[{"label": "cat"}]', 0),
    "no label in a later one": ('[{"id": 1, "label": "cat"}, {"id": 2}]', 1),
    "null label": ('[{"id": 1, "label": null}]', 0),
    "true label": ('[{"id": 1, "label": true}]', 0),
    "float id": ('[{"id": 1.0, "label": "cat"}]', 0),
    "float label": ('[{"id": 1, "label": 1.0}]', 0),
    "list label": ('[{"id": 1, "label": ["cat"]}]', 0),
    "NUL in an id": ('[{"id": "\\u0000", "label": "cat"}]', 0),
    "empty label": ('[{"id": 1, "label": "cat"}, {"id": 2, "label": ""}, {"id": 3, "label": "cat"}]', 1),
    "duplicate id": ('[{"id": 1, "label": "cat"}, {"id": "1", "label": "cat"}]', 1),
    "empty list": ("[]", None),
}


@pytest.mark.parametrize(("text", "index"), BAD_RECORDS.values(), ids=BAD_RECORDS.keys())
def test_a_json_fault_is_named_with_its_index(text: str, index: int | None, tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError) as caught:
        load_labels(write(tmp_path, "gt.csv", GT.decode()), write(tmp_path, "pred.json", text))
    assert caught.value.code == "BAD_FORMAT"
    assert caught.value.details.get("index") == index


def test_a_small_score_does_not_import_polars(tmp_path: Path) -> None:
    for name in ("gt.csv", "pred.csv"):
        (tmp_path / name).write_bytes(GT)
    program = """
import sys, pathlib
from autoscorer.reading.align import load_labels
from autoscorer.reading.source import Role, Source
load_labels(*(Source(role, role, pathlib.Path(sys.argv[1]) / name)
              for role, name in ((Role.REFERENCE, "gt.csv"), (Role.PREDICTION, "pred.csv"))))
print("polars" in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, check=True, text=True
    )
    assert run.stdout == "False\n"
