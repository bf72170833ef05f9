"""A parsed reference that is kept gives what reading it again would give, whatever came in between."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscorer.reading import cache, fast
from autoscorer.reading.aligned import AlignedLabels, AlignedValues
from autoscorer.reading.cache import ReferenceCache, references
from autoscorer.reading.coco import read_predictions, read_reference
from autoscorer.reading.source import Role, Source
from autoscorer.utils.errors import AutoscorerError
from tests.reading.files import contents, fast_answer, strict_answer

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them

BIG = b"x" * cache.LEAST_BYTES


class Parser:
    """Counts how often it is asked to parse."""

    def __init__(self, content: bytes = BIG, reader: str = "r", size: int = 10) -> None:
        self.content, self.reader, self.size = content, reader, size
        self.parsed = 0

    def ask(self, kept: ReferenceCache) -> object:
        def parse() -> list[int]:
            self.parsed += 1
            return [self.parsed]

        return kept.parsed(self.content, self.reader, parse, lambda _: self.size)


def test_what_comes_twice_is_kept_and_what_comes_once_is_not() -> None:
    kept, parser = ReferenceCache(100), Parser()
    assert [parser.ask(kept) for _ in range(4)] == [[1], [2], [2], [2]]
    assert kept.total_bytes == 10
    kept.clear()
    assert parser.ask(kept) == [3]


def test_small_ones_are_parsed_always() -> None:
    kept, parser = ReferenceCache(100), Parser(BIG[:-1])
    for _ in range(3):
        parser.ask(kept)
    assert parser.parsed == 3


def test_other_bytes_and_other_readers_have_their_own() -> None:
    kept = ReferenceCache(100)
    middle = bytearray(BIG)
    middle[len(BIG) // 2] ^= 1  # the same length, the same ends
    parsers = [Parser(), Parser(bytes(middle)), Parser(reader="other")]
    for _ in range(3):
        for parser in parsers:
            parser.ask(kept)
    assert [parser.ask(kept) for parser in parsers] == [[2], [1], [2]]


def test_the_bound_holds_and_the_least_recently_used_goes() -> None:
    kept = ReferenceCache(25)
    first, second, third = (Parser(reader=name) for name in "abc")
    for parser in (first, first, second, second, first, third, third):
        parser.ask(kept)
        assert kept.total_bytes <= 25
    assert (first.parsed, second.parsed, third.parsed) == (2, 2, 2)
    first.ask(kept)
    second.ask(kept)
    assert (first.parsed, second.parsed) == (2, 3)


def test_one_that_is_larger_than_the_bound_is_not_kept() -> None:
    kept, parser = ReferenceCache(5), Parser()
    for _ in range(3):
        parser.ask(kept)
    assert (parser.parsed, kept.total_bytes) == (3, 0)


def test_a_fault_is_raised_each_time() -> None:
    kept = ReferenceCache(100)
    for _ in range(4):
        with pytest.raises(ZeroDivisionError):
            kept.parsed(BIG, "r", lambda: 1 // 0, lambda _: 1)
    assert kept.total_bytes == 0


def test_threads_share_it() -> None:
    kept = ReferenceCache(40)
    parsers = [Parser(reader=str(number)) for number in range(8)]
    answers: list[object] = []

    def ask_all() -> None:
        for _ in range(50):
            for parser in parsers:
                answers.append(parser.ask(kept))

    threads = [threading.Thread(target=ask_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4 * 50 * 8
    assert kept.total_bytes == 40


@pytest.fixture
def keeping_all(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every reference is kept, whatever its size."""
    monkeypatch.setattr(cache, "LEAST_BYTES", 0)
    references.clear()
    yield
    references.clear()


def cold(reference: bytes, prediction: bytes, *, numeric: bool, quick: bool) -> object:
    """The answer of a reader that never saw anything."""
    references.clear()
    return warm(reference, prediction, numeric=numeric, quick=quick)


def warm(reference: bytes, prediction: bytes, *, numeric: bool, quick: bool) -> object:
    answer = (fast_answer if quick else strict_answer)(reference, prediction, numeric=numeric)
    if isinstance(answer, AutoscorerError):
        return answer.to_dict()
    return None if answer is None else contents(answer)


IDS = st.lists(st.sampled_from(["1", "2", "3", "b", "01"]), min_size=1, max_size=3, unique=True)
CELLS = {
    False: st.sampled_from(["cat", "dog", "cow", "", "9"]),
    True: st.sampled_from(["1", "2.5", "x", "-0"]),
}


@st.composite
def tables(draw: st.DrawFn, *, numeric: bool) -> list[bytes]:
    """Few references and several predictions for each, so that most come again."""
    ids = draw(IDS)
    return [
        (
            "id,label\n" + "".join(f"{name},{draw(CELLS[numeric])}\n" for name in draw(st.permutations(ids)))
        ).encode()
        for _ in range(draw(st.integers(2, 6)))
    ]


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("numeric", [False, True])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_answers_with_and_without_are_the_same(
    keeping_all: None, data: st.DataObject, numeric: bool, quick: bool
) -> None:
    files = data.draw(tables(numeric=numeric))
    pairs = [(truth, delivered) for truth in files[:2] for delivered in files] * 3
    expected = [cold(*pair, numeric=numeric, quick=quick) for pair in pairs]
    references.clear()
    assert [warm(*pair, numeric=numeric, quick=quick) for pair in pairs] == expected


TRUTH = b"id,label\n1,cat\n2,dog\n"


@pytest.mark.parametrize("quick", [False, True])
def test_labels_of_one_prediction_never_show_up_with_the_next(keeping_all: None, quick: bool) -> None:
    answer = fast_answer if quick else strict_answer
    for label in ("cow", "ant", "zebra", "dog"):
        aligned = answer(TRUTH, f"id,label\n1,cat\n2,{label}\n".encode(), numeric=False)
        assert isinstance(aligned, AlignedLabels)
        assert aligned.labels == tuple(sorted({"cat", "dog", label}))


def test_with_shared_categories_they_would(keeping_all: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = pl.Categorical(pl.Categories.random(physical=pl.UInt8))

    def kind() -> pl.DataType:
        return shared

    monkeypatch.setattr(fast, "_Labels", lambda _physical: kind)
    for _ in range(2):
        fast_answer(TRUTH, TRUTH, numeric=False)
    for label, seen in (("cow", ("cat", "cow", "dog")), ("ant", ("ant", "cat", "cow", "dog"))):
        aligned = fast_answer(TRUTH, f"id,label\n1,cat\n2,{label}\n".encode(), numeric=False)
        assert isinstance(aligned, AlignedLabels)
        assert aligned.labels == seen


@pytest.mark.parametrize("quick", [False, True])
def test_who_writes_into_an_answer_does_not_change_the_next(keeping_all: None, quick: bool) -> None:
    answer = fast_answer if quick else strict_answer
    for _ in range(4):
        values = answer(b"id,label\n1,1.5\n2,2\n", b"id,label\n1,1\n2,2\n", numeric=True)
        assert isinstance(values, AlignedValues)
        assert values.y_true.tolist() == [1.5, 2.0]
        values.y_true[:] = 7
        labels = answer(TRUTH, TRUTH, numeric=False)
        assert isinstance(labels, AlignedLabels)
        assert [labels.labels[code] for code in labels.y_true] == ["cat", "dog"]
        labels.y_true[:] = 0


def test_a_fault_names_the_present_file(keeping_all: None, tmp_path: Path) -> None:
    for _ in range(3):
        strict_answer(TRUTH, TRUTH, numeric=False)
    answer = strict_answer(TRUTH, b"id,label\n1,cat\n", numeric=False)
    assert isinstance(answer, AutoscorerError)
    assert answer.details["file"] == "output/pred.csv"


BOXES = {
    "images": [{"id": 1}, {"id": 2}],
    "categories": [{"id": 3, "name": "cat"}],
    "annotations": [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 10, 10]}],
}


def test_boxes_of_a_reference_are_kept_and_cannot_be_written_to(keeping_all: None, tmp_path: Path) -> None:
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(BOXES))
    source = Source(Role.REFERENCE, "reference/gt.json", path)
    read = [read_reference(source) for _ in range(3)]
    assert read[1] is read[2]
    for column in ("images", "categories", "boxes", "areas", "crowd", "difficult"):
        first, again = (getattr(one.boxes, column) for one in (read[0], read[2]))
        assert np.array_equal(first, again)
        with pytest.raises(ValueError, match="read-only"):
            again[...] = 0
    entry = {"image_id": 2, "category": "cat", "bbox": [1, 1, 2, 2], "score": 0.5}
    (tmp_path / "pred.json").write_text(json.dumps([entry]))
    predicted = read_predictions(Source(Role.PREDICTION, "output/pred.json", tmp_path / "pred.json"), read[2])
    assert predicted.images.tolist() == [1]
