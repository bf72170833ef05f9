"""The fast reader answers as the strict reader does, or not at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscorer.reading.aligned import AlignedLabels, AlignedValues
from autoscorer.utils.errors import AutoscorerError
from tests.reading.files import contents, fast_answer, strict_answer

LABELS = b"id,label\n0,cat\n1,dog\n2,cat\n"
NUMBERS = b"id,label\n0,1.5\n1,-2e3\n2,.5\n"


def assert_agree(reference: bytes, prediction: bytes, *, numeric: bool) -> bool:
    """Whether the fast reader answered; if so it said what the strict reader says."""
    fast = fast_answer(reference, prediction, numeric=numeric)
    if fast is None:
        return False
    strict = strict_answer(reference, prediction, numeric=numeric)
    assert not isinstance(strict, AutoscorerError), (strict, reference, prediction)
    assert contents(fast) == contents(strict), (reference, prediction)
    return True


FAST_LABELS = {
    "shuffled": b"id,label\n2,cow\n0,cat\n1,dog\n",
    "BOM": b"\xef\xbb\xbf" + LABELS,
    "CRLF": LABELS.replace(b"\n", b"\r\n"),
    "no last line end": LABELS[:-1],
    "further columns": b"id,x,label,y\n0,,cat,a b\n1,1,dog,\n2,q,cat,\n",
    "column order": b"label,id\ncat,0\ndog,1\ncat,2\n",
    "spaces are text": b"id,label\n0, cat\n1,dog \n2,\t\n",
    "other scripts": "id,label\n0,猫\n1,собака\n2,é\n".encode(),
}


@pytest.mark.parametrize("prediction", FAST_LABELS.values(), ids=FAST_LABELS.keys())
def test_regular_labels_are_answered_by_the_fast_reader(prediction: bytes) -> None:
    assert assert_agree(LABELS, prediction, numeric=False)


FAST_IDS = {
    "texts": [b"a", b"b", b"c"],
    "leading zeros": [b"01", b"1", b"001"],
    "negative": [b"-1", b"-2", b"0"],
    "sparse": [b"5", b"90000000000", b"17"],
    "beyond 64 bits": [b"99999999999999999999", b"1", b"2"],
    "reference unsorted": [b"2", b"0", b"1"],
    "integers and texts": [b"1", b"2", b"2b"],
    "offset": [b"1000001", b"1000002", b"1000003"],
}


@pytest.mark.parametrize("ids", FAST_IDS.values(), ids=FAST_IDS.keys())
@pytest.mark.parametrize("numeric", [False, True])
def test_ids_of_any_form_are_matched(ids: list[bytes], numeric: bool) -> None:
    rows = [name + b"," + str(number).encode() for number, name in enumerate(ids)]
    reference = b"id,label\n" + b"\n".join(rows) + b"\n"
    prediction = b"id,label\n" + b"\n".join(reversed(rows)) + b"\n"
    assert assert_agree(reference, prediction, numeric=numeric)


IRREGULAR = {
    "empty": b"",
    "header only": b"id,label\n",
    "NUL": LABELS.replace(b"cat", b"c\0t"),
    "quotes": LABELS.replace(b"cat", b'"cat"'),
    "lone CR": LABELS.replace(b"\n", b"\r"),
    "CR CR LF": LABELS.replace(b"\n", b"\r\r\n"),
    "blank row": LABELS.replace(b"1,", b"\n1,"),
    "blank row at the end": LABELS + b"\n",
    "spaces at the end": LABELS + b"  ",
    "short row": LABELS.replace(b"1,dog", b"1"),
    "short and long row": LABELS.replace(b"0,cat", b"0,cat,1").replace(b"1,dog", b"1"),
    "long row": LABELS.replace(b"1,dog", b"1,dog,x"),
    "empty label": LABELS.replace(b"dog", b""),
    "empty id": LABELS.replace(b"1,", b","),
    "duplicate header": b"id,label,label\n0,cat,cat\n1,dog,dog\n2,cat,cat\n",
    "label and no id": LABELS.replace(b"id", b"ID"),
    "not UTF-8": LABELS.replace(b"dog", b"d\xffg"),
    "not UTF-8 in another column": b"id,label,x\n0,cat,\xff\n1,dog,\n2,cat,\n",
    "missing id": LABELS.replace(b"2,cat\n", b""),
    "other id": LABELS.replace(b"2,", b"7,"),
    "leading zero": LABELS.replace(b"1,", b"01,"),
    "plus": LABELS.replace(b"1,", b"+1,"),
    "minus zero": LABELS.replace(b"0,", b"-0,"),
    "double zero": LABELS.replace(b"0,", b"00,"),
    "space before the id": LABELS.replace(b"1,", b" 1,"),
    "duplicate id": LABELS.replace(b"1,", b"2,"),
    "HTML": b"<p>id,label\n0,cat\n1,dog\n2,cat\n",
    "UTF-16": LABELS.decode().encode("utf-16"),
    "a field too long for the csv module": LABELS.replace(b"dog", b"d" * 140_000),
    "ragged in three columns": b"id,label,x\n0,cat,1,2\n1,dog\n2,cat,3\n",
}


@pytest.mark.parametrize("prediction", IRREGULAR.values(), ids=IRREGULAR.keys())
def test_everything_irregular_is_handed_over(prediction: bytes) -> None:
    assert fast_answer(LABELS, prediction, numeric=False) is None
    assert fast_answer(prediction, LABELS, numeric=False) is None


NOT_NUMBERS = ["nan", "inf", "-inf", "infinity", "1_000", "1e400", "-1e400", "１", " 1", "1 ", "\t1", "0x1",
               "1e", ".", "+", "--1", "1,5", "", "1f", "1.5.", "٣"]  # fmt: skip
NUMBERS_IN_ALL_FORMS = ["1.", ".5", "+1", "-0", "00", "1E+5", "1e-400", "5e-324", "1.7976931348623157e308",
                        "0.1000000000000000055511151231257827", "2.2250738585072011e-308", "9007199254740993",
                        "123456789012345678901234567890"]  # fmt: skip


@pytest.mark.parametrize("text", NOT_NUMBERS)
@pytest.mark.parametrize("blank", ["", " "], ids=["no blanks", "blanks elsewhere"])
def test_what_is_no_plain_number_is_handed_over(text: str, blank: str) -> None:
    prediction = f"id,label,note\n0,{text},x{blank}y\n1,1,\n2,1,\n".encode()
    assert fast_answer(NUMBERS, prediction, numeric=True) is None


@pytest.mark.parametrize("text", NUMBERS_IN_ALL_FORMS)
@pytest.mark.parametrize("blank", ["", " "], ids=["no blanks", "blanks elsewhere"])
def test_numbers_have_the_bits_that_python_gives_them(text: str, blank: str) -> None:
    prediction = f"id,label,note\n0,{text},x{blank}y\n1,1,\n2,1,\n".encode()
    assert assert_agree(NUMBERS, prediction, numeric=True)


FIELDS = st.text(alphabet="019-+.e \t_,\"'\r\n\0aé٣\ufeff<", max_size=4)


def file_of(header: tuple[str, ...], rows: list[list[str]], end: str) -> bytes:
    return ("\n".join(",".join(row) for row in (header, *rows)) + end).encode()


FILES = st.builds(
    file_of,
    st.sampled_from([("id", "label"), ("label", "id"), ("id", "label", "x"), ("id", "value"), ("id", "id")]),
    st.lists(st.lists(FIELDS, min_size=2, max_size=3), max_size=4),
    st.sampled_from(["", "\n", "\r\n", "\n\n"]),
)


@settings(max_examples=400, deadline=None)
@given(reference=FILES, prediction=FILES, numeric=st.booleans())
def test_the_readers_never_disagree_on_any_two_files(
    reference: bytes, prediction: bytes, numeric: bool
) -> None:
    assert_agree(reference, prediction, numeric=numeric)
    assert_agree(reference, reference, numeric=numeric)


PLAIN_IDS = st.lists(
    st.one_of(st.integers(-5, 30).map(str), st.sampled_from(["01", "+1", "a", "é", "1.0"])),
    min_size=1, max_size=8, unique=True,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(ids=PLAIN_IDS, seed=st.integers(0, 2**32), numeric=st.booleans())
def test_regular_files_are_answered_and_agree(ids: list[str], seed: int, numeric: bool) -> None:
    chance = random.Random(seed)
    files = []
    for _ in range(2):
        chance.shuffle(ids)
        values = [repr(chance.uniform(-1e3, 1e3)) if numeric else chance.choice("xyz") for _ in ids]
        lines = [f"{name},{value}\n" for name, value in zip(ids, values, strict=True)]
        files.append(("id,label\n" + "".join(lines)).encode())
    assert assert_agree(files[0], files[1], numeric=numeric)


@pytest.mark.slow
def test_large_files_agree_across_windows_and_threads() -> None:
    chance = random.Random(7)
    ids = list(range(120_000))
    reference = b"id,label\n" + b"".join(b"%d,%s\n" % (row, chance.choice([b"cat", b"dog"])) for row in ids)
    chance.shuffle(ids)
    prediction = b"id,label\n" + b"".join(b"%d,%s\n" % (row, chance.choice([b"cat", b"cow"])) for row in ids)
    assert len(prediction) > 2**20
    assert assert_agree(reference, prediction, numeric=False)
    numbers = b"id,value\n" + b"".join(b"%d,%r\n" % (row, chance.gauss(0, 1)) for row in ids)
    assert assert_agree(numbers, numbers, numeric=True)


def test_aligned_columns_are_of_the_promised_kind() -> None:
    labels = fast_answer(LABELS, LABELS, numeric=False)
    values = fast_answer(NUMBERS, NUMBERS, numeric=True)
    assert isinstance(labels, AlignedLabels)
    assert labels.labels == ("cat", "dog")
    assert isinstance(values, AlignedValues)
    assert values.y_true.tolist() == [1.5, -2000.0, 0.5]
