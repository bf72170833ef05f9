"""Detection files to arrays: the reference and the predictions, as full COCO or as a flat list of boxes.

Reference, full: `{"images": [{"id"}], "categories": [{"id", "name"?}], "annotations": [box, …]}`; flat:
`[box, …]`, whose images and categories are all there are. Predictions: `[box, …]`, or an object with
`annotations`. A box has `image_id`, `category_id` (or `category`, or `label`), `bbox` `[x, y, width, height]`
in pixels, and in predictions `score`; in the reference also `area` (else width·height), `iscrowd` and
`difficult` (0 or 1). Other keys are ignored.

Ids are whole numbers or strings, and `1` and `"1"` are two ids. A category may also be given by its name.
Boxes without width or height are allowed, as in COCO, and match nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscorer.reading.cache import references
from autoscorer.reading.coco_entries import (
    PREDICTED_EXAMPLE,
    TRUE_EXAMPLE,
    Entry,
    EntryFaultError,
    Id,
    Known,
    as_id,
    category_id,
    check_object,
    image_id,
    json_kind,
    parse_all,
    parse_entry,
    required,
    shown_value,
)
from autoscorer.reading.coco_fast import (
    FAST_READER_BYTES,
    BoolArray,
    FloatArray,
    IntArray,
    regular_document,
    regular_predictions,
    regular_truth,
)
from autoscorer.reading.source import Source
from autoscorer.reading.strict import strict_json
from autoscorer.reading.text import SHOWN_OFFENDERS
from autoscorer.utils.errors import AutoscorerError

IMAGE_BYTES = 150
FULL_EXAMPLE = (
    '{"images": [{"id": 1}], "categories": [{"id": 3, "name": "cat"}], "annotations": [' + TRUE_EXAMPLE + "]}"
)


@dataclass(frozen=True)
class TrueBoxes:
    """The boxes of the reference in file order. Codes count from 0 in the order of the sorted ids.

    ``boxes`` is (n, 4): x, y, width, height in pixels; ``areas`` in square pixels.
    """

    images: IntArray
    categories: IntArray
    boxes: FloatArray
    areas: FloatArray
    crowd: BoolArray
    difficult: BoolArray


@dataclass(frozen=True)
class PredictedBoxes:
    """The predicted boxes in file order, coded like those of the reference; scores are finite."""

    images: IntArray
    categories: IntArray
    boxes: FloatArray
    scores: FloatArray


@dataclass(frozen=True)
class Reference:
    """The truth of a detection task. ``category_names`` are unique and stand in the order of the codes."""

    known: Known
    category_names: tuple[str, ...]
    boxes: TrueBoxes

    @property
    def n_images(self) -> int:
        return len(self.known.images)


def read_reference(source: Source) -> Reference:
    """Read the truth; its arrays cannot be written to. Raises AutoscorerError MISSING_FILE, PARSE_ERROR or
    BAD_FORMAT."""
    content = source.read()
    return references.parsed(content, "COCO", lambda: _frozen(_parse_reference(content, source)), _weight)


def _parse_reference(content: bytes, source: Source) -> Reference:
    if len(content) >= FAST_READER_BYTES and (document := regular_document(content)):
        annotations, known, names = _parts(document, source)
        if columns := regular_truth(annotations, known):
            return Reference(known, names, TrueBoxes(*columns))
    return read_reference_strictly(content, source)


def _frozen(reference: Reference) -> Reference:
    for array in _arrays(reference.boxes):
        array.setflags(write=False)
    return reference


def _weight(reference: Reference) -> int:
    """What it holds in memory, about: its arrays, and an entry of a dictionary an image."""
    return sum(array.nbytes for array in _arrays(reference.boxes)) + IMAGE_BYTES * reference.n_images


def _arrays(boxes: TrueBoxes) -> list[NDArray[Any]]:
    return [getattr(boxes, column.name) for column in fields(boxes)]


def read_reference_strictly(content: bytes, source: Source) -> Reference:
    """The definition of `read_reference`, which the fast reader must agree with."""
    document = _document(content, source, FULL_EXAMPLE)
    annotations, known, names = _parts(document, source)
    kind = "entry" if document is annotations else "annotation"
    parse = partial(parse_entry, known=known, scored=False)
    return Reference(known, names, _true_boxes(parse_all(annotations, parse, source, kind, TRUE_EXAMPLE)))


def read_predictions(source: Source, reference: Reference) -> PredictedBoxes:
    """Read the predictions; no box at all is fine.

    Raises AutoscorerError MISSING_FILE, PARSE_ERROR or BAD_FORMAT, also for an image or a category that
    the reference does not have.
    """
    content = source.read()
    if len(content) >= FAST_READER_BYTES and (columns := regular_predictions(content, reference.known)):
        return PredictedBoxes(*columns)
    return read_predictions_strictly(content, source, reference)


def read_predictions_strictly(content: bytes, source: Source, reference: Reference) -> PredictedBoxes:
    """The definition of `read_predictions`, which the fast reader must agree with."""
    example = f"[{PREDICTED_EXAMPLE}]"
    document = _document(content, source, example)
    entries = document if isinstance(document, list) else _list_at(document, "annotations", source, example)
    parse = partial(parse_entry, known=reference.known, scored=True)
    parsed = parse_all(entries, parse, source, "entry", PREDICTED_EXAMPLE)
    return PredictedBoxes(
        _ints(entry.image for entry in parsed),
        _ints(entry.category for entry in parsed),
        _boxes(parsed),
        np.array([entry.score for entry in parsed], dtype=np.float64),
    )


def _document(content: bytes, source: Source, example: str) -> Any:
    try:
        document = strict_json(content, source)
    except AutoscorerError as exc:
        # The strict reader's example is of a table.
        raise source.fault(exc.code, exc.message, exc.details | {"example": example}) from exc
    return document


def _list_at(document: Any, key: str, source: Source, example: str) -> list[Any]:
    if not isinstance(document, dict):
        raise _fault(source, f"it holds {json_kind(document)}, not a list of boxes", example)
    if key not in document:
        raise _fault(source, f"the object has no {key}", example)
    if not isinstance(document[key], list):
        raise _fault(source, f"{key} is {json_kind(document[key])}, not a list", example)
    items: list[Any] = document[key]
    return items


def _parts(document: Any, source: Source) -> tuple[list[Any], Known, tuple[str, ...]]:
    """The boxes of a reference, not yet read, and what they may refer to."""
    if isinstance(document, list):
        boxes, (known, names) = document, _implied(document, source)
    else:
        boxes, (known, names) = (
            _list_at(document, "annotations", source, FULL_EXAMPLE),
            _declared(document, source),
        )
    if not boxes:
        raise _fault(source, "it holds no box, so nothing can be scored against it", FULL_EXAMPLE)
    return boxes, known, names


def _declared(document: Any, source: Source) -> tuple[Known, tuple[str, ...]]:
    """Images and categories of the full form; those without a box count too."""
    images, categories = (_list_at(document, key, source, FULL_EXAMPLE) for key in ("images", "categories"))
    image_ids = parse_all(images, _id_of, source, "image", '{"id": 1}')
    named = parse_all(categories, _category_of, source, "category", '{"id": 3, "name": "cat"}')
    _check_unique(image_ids, "image id", source)
    _check_unique([identifier for identifier, _ in named], "category id", source)
    names = {identifier: str(identifier) if name is None else name for identifier, name in named}
    codes = _codes(names)
    by_name: dict[Id, int] = {name: codes[identifier] for identifier, name in named if name is not None}
    return Known(_codes(image_ids), by_name | codes), _unique_names(codes, names, source)


def _implied(entries: list[Any], source: Source) -> tuple[Known, tuple[str, ...]]:
    """Images and categories of the flat form: those that its boxes name."""
    pairs = parse_all(entries, _ids_of, source, "entry", TRUE_EXAMPLE)
    codes = _codes({category for _, category in pairs})
    names = {identifier: str(identifier) for identifier in codes}
    return Known(_codes({image for image, _ in pairs}), codes), _unique_names(codes, names, source)


def _unique_names(codes: dict[Id, int], names: dict[Id, str], source: Source) -> tuple[str, ...]:
    """Names in the order of the codes: metrics are called by them."""
    ordered = [names[identifier] for identifier in codes]
    _check_unique(ordered, "category name", source)
    return tuple(ordered)


def _codes(identifiers: Iterable[Id]) -> dict[Id, int]:
    """Ids to codes, numbers before texts. COCO breaks ties between images in this order."""
    ordered = sorted(identifiers, key=lambda identifier: (isinstance(identifier, str), identifier))
    return {identifier: code for code, identifier in enumerate(ordered)}


def _id_of(item: Any) -> Id:
    check_object(item)
    return as_id(required(item, "id"), "id")


def _category_of(item: Any) -> tuple[Id, str | None]:
    identifier, name = _id_of(item), item.get("name")
    if name is not None and not isinstance(name, str):
        raise EntryFaultError(f"name is {shown_value(name)}, not a string")
    return identifier, name


def _ids_of(entry: Any) -> tuple[Id, Id]:
    check_object(entry)
    return image_id(entry), category_id(entry)[1]


def _check_unique(identifiers: Sequence[Id], what: str, source: Source) -> None:
    twice = [identifier for identifier, times in Counter(identifiers).items() if times > 1]
    if twice:
        shown = ", ".join(map(shown_value, twice[:SHOWN_OFFENDERS]))
        raise _fault(source, f"each {what} must stand once, but not so {shown}", FULL_EXAMPLE)


def _true_boxes(entries: Sequence[Entry]) -> TrueBoxes:
    boxes = _boxes(entries)
    areas = boxes[:, 2] * boxes[:, 3]
    given = np.array([entry.area is not None for entry in entries], dtype=bool)
    areas[given] = [entry.area for entry in entries if entry.area is not None]
    return TrueBoxes(
        images=_ints(entry.image for entry in entries),
        categories=_ints(entry.category for entry in entries),
        boxes=boxes,
        areas=areas,
        crowd=np.array([entry.crowd for entry in entries], dtype=bool),
        difficult=np.array([entry.difficult for entry in entries], dtype=bool),
    )


def _boxes(entries: Sequence[Entry]) -> FloatArray:
    return np.array([entry.bbox for entry in entries], dtype=np.float64).reshape(-1, 4)


def _ints(values: Iterable[int]) -> IntArray:
    return np.fromiter(values, dtype=np.int64)


def _fault(source: Source, what: str, example: str) -> AutoscorerError:
    return source.fault(
        "BAD_FORMAT", f"{source.name}: {what}", {"expected": "COCO boxes", "example": example}
    )
