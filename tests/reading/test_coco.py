"""Detection files: which forms are read, and what is said of each fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoscorer.reading.coco import (
    PredictedBoxes,
    Reference,
    read_predictions,
    read_predictions_strictly,
    read_reference,
    read_reference_strictly,
)
from autoscorer.reading.coco_fast import regular_document, regular_predictions, regular_truth
from autoscorer.reading.strict import strict_json
from autoscorer.utils.errors import AutoscorerError, Blame
from tests.coco_cases import prediction_source, random_task, reference_source
from tests.coco_mutations import spoil
from tests.seeds import seeds

BOX: dict[str, Any] = {"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}
PREDICTED: dict[str, Any] = BOX | {"score": 0.5}
FULL: dict[str, Any] = {
    "images": [{"id": 1}, {"id": 2}],
    "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
    "annotations": [BOX],
}


def encoded(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def reference_of(document: Any) -> Reference:
    return read_reference_strictly(encoded(document), reference_source())


def predictions_of(document: Any, reference: Any = FULL) -> PredictedBoxes:
    return read_predictions_strictly(encoded(document), prediction_source(), reference_of(reference))


def prediction_fault(document: Any, reference: Any = FULL) -> AutoscorerError:
    with pytest.raises(AutoscorerError) as caught:
        predictions_of(document, reference)
    assert caught.value.blame is Blame.PARTICIPANT
    assert caught.value.details["file"] == "output/pred.json"
    assert "bbox" in caught.value.details["example"]
    return caught.value


def reference_fault(document: Any) -> AutoscorerError:
    with pytest.raises(AutoscorerError) as caught:
        reference_of(document)
    assert caught.value.blame is Blame.ORGANISER
    assert caught.value.details["file"] == "reference/gt.json"
    return caught.value


def test_the_full_form_declares_images_and_categories_without_boxes() -> None:
    reference = reference_of(FULL)
    assert reference.n_images == 2
    assert reference.category_names == ("cat", "dog")
    assert reference.boxes.areas.tolist() == [12.0]


def test_the_flat_form_implies_them() -> None:
    reference = reference_of([BOX, BOX | {"image_id": 7, "category_id": 2}])
    assert reference.n_images == 2
    assert reference.category_names == ("2", "3")
    assert reference.boxes.images.tolist() == [0, 1]
    assert reference.boxes.categories.tolist() == [1, 0]


def test_area_crowd_and_difficult_are_read_and_default_to_nothing() -> None:
    marked = BOX | {"area": 5, "iscrowd": 1, "difficult": True, "segmentation": {"counts": "x"}}
    boxes = reference_of(FULL | {"annotations": [BOX, marked]}).boxes
    assert boxes.areas.tolist() == [12.0, 5.0]
    assert boxes.crowd.tolist() == [False, True]
    assert boxes.difficult.tolist() == [False, True]


@pytest.mark.parametrize("key", ["category", "label"])
def test_names_serve_as_categories_and_file_names_as_images(key: str) -> None:
    entry = {"image_id": "0001.jpg", key: "cat", "bbox": [1, 2, 3, 4]}
    reference = [entry, entry | {"image_id": "0000.jpg", key: "ant"}]
    boxes = predictions_of([entry | {"score": 1}], reference)
    assert (boxes.images.tolist(), boxes.categories.tolist()) == ([1], [1])
    assert reference_of(reference).category_names == ("ant", "cat")


@pytest.mark.parametrize(
    "named", [{"category_id": 4}, {"category_id": "dog"}, {"category": "dog"}, {"label": 4}]
)
def test_a_category_is_found_by_its_id_and_by_its_name(named: dict[str, Any]) -> None:
    entry = {"image_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5} | named
    assert predictions_of([entry]).categories.tolist() == [1]


def test_predictions_may_come_in_the_full_form() -> None:
    assert predictions_of({"annotations": [PREDICTED]}).scores.tolist() == [0.5]


def test_no_prediction_at_all_is_read() -> None:
    boxes = predictions_of([])
    assert boxes.boxes.shape == (0, 4)
    assert len(boxes.scores) == 0


@pytest.mark.parametrize(
    "bbox", [[0, 0, 0, 0], [-5, -5, 0, 3], [1e9, -1e9, 1e9, 1e9], [0.5, 0, 1e-150, 1e-150]]
)
def test_odd_boxes_that_cocos_rules_can_judge_are_read(bbox: list[float]) -> None:
    assert predictions_of([PREDICTED | {"bbox": bbox}]).boxes.tolist() == [bbox]


@pytest.mark.parametrize("score", [-3, 0, 17.5, 1e300])
def test_a_score_may_be_any_finite_number(score: float) -> None:
    assert predictions_of([PREDICTED | {"score": score}]).scores.tolist() == [score]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"bbox": [1, 2, 3, 4, 5, 6]}, "bbox has 6 numbers"),
        ({"bbox": [1, 2, 3]}, "bbox has 3 numbers"),
        ({"bbox": [1, 2, -3, 4]}, "negative size -3"),
        ({"bbox": [1, 2, 3, -1e-9]}, "negative size -1e-09"),
        ({"bbox": [1, 2, 3, "4"]}, 'bbox holds "4", which is not a number'),
        ({"bbox": [1, 2, 3, True]}, "bbox holds true"),
        ({"bbox": [1, 2, 3, None]}, "bbox holds null"),
        ({"bbox": [[1, 2, 3, 4]]}, "bbox has 1 numbers"),
        ({"bbox": "1,2,3,4"}, 'bbox is "1,2,3,4", not a list'),
        ({"bbox": {"x": 1}}, "bbox is an object"),
        ({"bbox": [1, 2, 1e308, 1e308]}, "beyond ±1e9"),
        ({"bbox": [1, 2, 10**300, 4]}, "beyond ±1e9"),
        ({"bbox": [1, 2, 1e-200, 1e-200]}, "too small to have an area"),
        ({"score": "0.5"}, 'score is "0.5", not a number'),
        ({"score": None}, "score is null"),
        ({"score": True}, "score is true"),
        ({"score": [0.5]}, "score is a list"),
        ({"image_id": 9}, "image_id 9 is none of the reference"),
        ({"image_id": "1"}, "it has the number 1 (without quotes)"),
        ({"image_id": 1.0}, "image_id is 1.0; it must be a whole number or a string"),
        ({"image_id": True}, "image_id is true"),
        ({"image_id": None}, "image_id is null"),
        ({"category_id": 9}, "category_id 9 is none that the reference declares"),
        ({"category_id": "bird"}, 'category_id "bird" is none'),
        ({"category_id": []}, "category_id is a list"),
        ({"iscrowd": 2}, "iscrowd is 2; it must be 0 or 1"),
    ],
)
def test_a_faulty_prediction_is_named_with_its_index(change: dict[str, Any], what: str) -> None:
    fault = prediction_fault([PREDICTED, PREDICTED, PREDICTED | change])
    assert fault.code == "BAD_FORMAT"
    assert fault.message.startswith("output/pred.json, entry 2: ")
    assert what in fault.message
    assert fault.details["index"] == 2


@pytest.mark.parametrize("key", ["image_id", "category_id", "bbox", "score"])
def test_a_missing_key_is_named(key: str) -> None:
    entry = {name: value for name, value in PREDICTED.items() if name != key}
    assert f"entry 1: it has no {key}" in prediction_fault([PREDICTED, entry]).message


def test_the_hint_goes_the_other_way_round_too() -> None:
    reference = [BOX | {"image_id": "1"}]
    assert 'it has the text "1"' in prediction_fault([PREDICTED], reference).message


def test_the_first_faulty_entries_are_listed_and_the_rest_is_not() -> None:
    fault = prediction_fault([PREDICTED] + [PREDICTED | {"bbox": [k]} for k in range(9)])
    assert "entry 1:" in fault.message
    assert "(faults also in entry 2, 3, 4, 5)" in fault.message
    assert len(fault.details["offenders"]) == 5


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ({"predictions": []}, "the object has no annotations"),
        ({"annotations": {}}, "annotations is an object, not a list"),
        (3, "it holds a number, not a list of boxes"),
        (None, "it holds null"),
        ([[1]], "entry 0: it is a list, not an object"),
        ([5], "entry 0: it is a number"),
    ],
)
def test_predictions_of_another_shape_are_refused(document: Any, what: str) -> None:
    fault = prediction_fault(document)
    assert fault.code == "BAD_FORMAT"
    assert what in fault.message


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "BAD_FORMAT"),
        (b"[" * 200_000, "PARSE_ERROR"),
        (b'[{"image_id": ' + b'{"a":' * 200_000, "PARSE_ERROR"),
        (encoded([PREDICTED]).replace(b"0.5", b"NaN"), "PARSE_ERROR"),
        (encoded([PREDICTED]).replace(b"0.5", b"1e400"), "BAD_FORMAT"),
        (encoded([PREDICTED]).replace(b"0.5", b"9" * 400), "BAD_FORMAT"),
        (encoded([PREDICTED]).replace(b"0.5", b"9" * 309), "BAD_FORMAT"),
        (encoded([PREDICTED]).replace(b"0.5", b"9" * 100_000), "BAD_FORMAT"),
        (encoded([PREDICTED]).replace(b"0.5", b'0.5, "score": 0.6'), "PARSE_ERROR"),
        (encoded([PREDICTED]).replace(b"0.5", b'0.5, "\\u0073core": 0.6'), "PARSE_ERROR"),
        (encoded([PREDICTED]).replace(b"3,", b'"\\ud800",', 1), "PARSE_ERROR"),
        (encoded([PREDICTED]).replace(b"1, ", b"01, ", 1), "PARSE_ERROR"),
        (encoded([PREDICTED]) + b"x", "PARSE_ERROR"),
        (encoded([PREDICTED]).decode().encode("utf-16"), "PARSE_ERROR"),
        (b"<html></html>", "PARSE_ERROR"),
        (b"\x89PNG\r\n\x1a\n\x00", "PARSE_ERROR"),
    ],
)
def test_hostile_bytes_have_a_code(content: bytes, code: str) -> None:
    assert prediction_fault(content).code == code


def test_a_byte_order_mark_is_fine() -> None:
    assert len(predictions_of(b"\xef\xbb\xbf" + encoded([PREDICTED])).scores) == 1


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"annotations": []}, "it holds no box"),
        ({"annotations": None}, "annotations is null, not a list"),
        ({"annotations": [BOX, {}]}, "annotation 1: it has no image_id"),
        ({"annotations": [BOX | {"bbox": [1, 2, 3, -4]}]}, "annotation 0: bbox has the negative size -4"),
        ({"annotations": [BOX | {"image_id": 9}]}, "annotation 0: image_id 9 is none of the reference"),
        ({"annotations": [BOX | {"category_id": 9}]}, "annotation 0: category_id 9 is none"),
        ({"annotations": [BOX | {"area": -1}]}, "area is negative: -1"),
        ({"annotations": [BOX | {"area": None}]}, "area is null"),
        ({"annotations": [BOX | {"area": 10**308 * 2}]}, "area is 2"),
        ({"annotations": [BOX | {"iscrowd": 0.0}]}, "iscrowd is 0.0"),
        ({"annotations": [BOX | {"difficult": "0"}]}, 'difficult is "0"'),
        ({"images": [{"id": 1}, {"id": 1}]}, "each image id must stand once, but not so 1"),
        ({"images": [{"file_name": "a"}]}, "image 0: it has no id"),
        ({"images": [1]}, "image 0: it is a number"),
        ({"images": "a"}, "images is a string, not a list"),
        ({"categories": [{"id": 3}, {"id": 3}]}, "each category id must stand once, but not so 3"),
        (
            {"categories": [{"id": 3, "name": "a"}, {"id": 4, "name": "a"}]},
            "each category name must stand once",
        ),
        ({"categories": [{"id": 3, "name": 5}]}, "category 0: name is 5, not a string"),
        ({"categories": [{"id": None}]}, "category 0: id is null"),
    ],
)
def test_a_faulty_reference_is_the_organisers(change: dict[str, Any], what: str) -> None:
    fault = reference_fault(FULL | change)
    assert fault.code == "BAD_FORMAT"
    assert what in fault.message


@pytest.mark.parametrize("key", ["images", "categories", "annotations"])
def test_the_full_form_has_three_lists(key: str) -> None:
    document = {name: value for name, value in FULL.items() if name != key}
    assert f"the object has no {key}" in reference_fault(document).message


def test_a_flat_reference_with_one_category_as_number_and_text_is_refused() -> None:
    assert "category name" in reference_fault([BOX, BOX | {"category_id": "3"}]).message
    assert "it holds no box" in reference_fault([]).message


@pytest.mark.slow
def test_a_large_file_is_read_by_the_fast_reader_and_means_the_same(tmp_path: Path) -> None:
    """Both readers answer above 1 MiB; a fault in the last entry is still named with its index."""
    rng = np.random.default_rng(3)
    document = FULL | {"annotations": [BOX | {"bbox": box} for box in _bboxes(rng, 25_000)]}
    results = [PREDICTED | {"bbox": box, "score": rng.random()} for box in _bboxes(rng, 15_000)]
    paths = tmp_path / "gt.json", tmp_path / "pred.json"
    for path, value in zip(paths, (document, results), strict=True):
        path.write_bytes(encoded(value))
        assert path.stat().st_size > 2**20
    reference = read_reference(reference_source(paths[0]))
    assert_same(reference.boxes, reference_of(document).boxes)
    assert_same(read_predictions(prediction_source(paths[1]), reference), predictions_of(results))
    results[-1]["bbox"][2] = -1
    paths[1].write_bytes(encoded(results))
    with pytest.raises(AutoscorerError, match="entry 14999: bbox has the negative size -1"):
        read_predictions(prediction_source(paths[1]), reference)


@pytest.mark.parametrize("seed", seeds(400))
def test_the_fast_readers_never_disagree_with_the_strict_ones(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoscorer.reading.coco_fast.PIECE_BYTES", [2**18, 0, 100][seed % 3])
    rng = np.random.default_rng(seed)
    document, results = random_task(rng)
    reference = reference_of(document)
    for _ in range(5):
        _compare_predictions(spoil(rng, results[:20]), reference)
        _compare_reference(spoil(rng, document))


def test_the_fast_readers_do_answer_for_plain_files() -> None:
    """The control: without it the property above would hold for readers that always hand over."""
    document, results = random_task(np.random.default_rng(12))
    reference = reference_of(document)
    assert len(results) > 20
    assert regular_predictions(encoded(results), reference.known) is not None
    assert regular_document(encoded(document)) == document
    assert regular_truth(document["annotations"], reference.known) is not None
    texts = [entry | {"image_id": "a", "category_id": "b"} for entry in results]
    known = reference_of([entry | {"image_id": "a", "category_id": "b"} for entry in document["annotations"]])
    assert regular_predictions(encoded(texts), known.known) is not None


@pytest.mark.parametrize(
    "content",
    [
        b'[{"image_id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}]',
        b'[{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5, "x": {"a": 1, "a": 1}}]',
        b'[{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5, "\\u0073core": 0.5}]',
    ],
)
def test_a_repeated_key_is_left_to_the_strict_reader(content: bytes) -> None:
    assert regular_predictions(content, reference_of(FULL).known) is None
    assert regular_document(content) is None
    assert prediction_fault(content).code == "PARSE_ERROR"


def test_a_list_cut_into_pieces_means_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = reference_of([BOX | {"image_id": "a}, {b"}])
    content = json.dumps(
        [PREDICTED | {"image_id": "a}, {b", "score": k} for k in range(99)], indent=1
    ).encode()
    whole = regular_predictions(content, reference.known)
    assert whole is not None
    sound = 0
    for size in range(0, 2000, 7):
        monkeypatch.setattr("autoscorer.reading.coco_fast.PIECE_BYTES", size)
        # A cut in the middle of an id is noticed, and handed over.
        cut = regular_predictions(content, reference.known)
        sound += cut is not None
        assert cut is None or assert_same(PredictedBoxes(*cut), PredictedBoxes(*whole))
    assert sound > 20
    commas = [content.replace(b"[", b"[,", 1), content[:-1] + b",]", content.replace(b"},", b"},,", 1)]
    for size in (0, 2**18):
        monkeypatch.setattr("autoscorer.reading.coco_fast.PIECE_BYTES", size)
        assert all(regular_predictions(spoiled, reference.known) is None for spoiled in commas)


def _compare_predictions(content: bytes, reference: Reference) -> None:
    columns = regular_predictions(content, reference.known)
    try:
        strict = read_predictions_strictly(content, prediction_source(), reference)
    except AutoscorerError:
        assert columns is None
    else:
        assert columns is None or assert_same(PredictedBoxes(*columns), strict)


def _compare_reference(content: bytes) -> None:
    document = regular_document(content)
    try:
        value = strict_json(content, reference_source())
    except AutoscorerError:
        assert document is None
        return
    assert document is None or document == value
    try:
        strict = read_reference_strictly(content, reference_source())
    except AutoscorerError:
        return
    annotations = value if isinstance(value, list) else value["annotations"]
    columns = regular_truth(annotations, strict.known)
    assert columns is None or assert_same(type(strict.boxes)(*columns), strict.boxes)


def assert_same(left: Any, right: Any) -> bool:
    for name in vars(right):
        assert getattr(left, name).tolist() == getattr(right, name).tolist(), name
        assert getattr(left, name).dtype == getattr(right, name).dtype, name
    return True


def _bboxes(rng: np.random.Generator, n: int) -> list[list[float]]:
    boxes: list[list[float]] = rng.uniform(0, 100, (n, 4)).tolist()
    return boxes
