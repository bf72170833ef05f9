"""The fast readers of detection files: they answer for what is plainly regular, else hand over.

Regular is ASCII without backslashes, so that quotes count strings: more of them than the decoded document
has keys and texts give away a repeated key, which msgspec passes over in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from autoscorer.reading.coco_entries import MAX_COORDINATE, Id, Known

# Below this the strict reader takes less than 0.1 s.
FAST_READER_BYTES = 2**20
PIECE_BYTES = 2**18
JSON_SPACE = b" \t\n\r"
QUOTES_PER_ENTRY = 8  # four keys
# The strict reader refuses longer numbers.
MAX_DIGITS = 308
_ALL_DIGITS_ZERO = bytes.maketrans(b"123456789", b"000000000")

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
PredictedColumns = tuple[IntArray, IntArray, FloatArray, FloatArray]
TrueColumns = tuple[IntArray, IntArray, FloatArray, FloatArray, BoolArray, BoolArray]


class _Box(msgspec.Struct, gc=False):
    """msgspec converts nothing silently: no text or bool as number, no 1.0 as id, no NaN, no 1e400."""

    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]


class _PredictedBox(_Box, gc=False):
    score: float


class _TrueBox(_Box, gc=False):
    area: float | msgspec.UnsetType = msgspec.UNSET
    iscrowd: int | bool = 0
    difficult: int | bool = 0


def regular_predictions(content: bytes, known: Known) -> PredictedColumns | None:
    """Image codes, category codes, boxes (n, 4) and scores; None hands over to the strict reader.

    A regular list holds objects with exactly the four keys of a COCO result, all of whose values pass.
    """
    content = content.strip(JSON_SPACE)
    if not (content.startswith(b"[") and content.endswith(b"]")):
        return None
    parts: list[PredictedColumns] = []
    for piece in _pieces(content):
        columns = _piece_columns(piece, known)
        if columns is None:
            return None
        parts.append(columns)
    # A piece without boxes among others is a comma too many.
    if len(parts) > 1 and not all(len(scores) for *_, scores in parts):
        return None
    images, categories, boxes, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    return images, categories, boxes, scores


def regular_truth(annotations: Sequence[Any], known: Known) -> TrueColumns | None:
    """Image codes, category codes, boxes (n, 4), areas, crowd and difficult flags; None hands over."""
    try:
        entries = msgspec.convert(annotations, type=list[_TrueBox])
    except (msgspec.MsgspecError, OverflowError):
        return None
    if (located := _located(entries, known)) is None:
        return None
    boxes = located[2]
    areas = boxes[:, 2] * boxes[:, 3]
    given = np.fromiter((entry.area is not msgspec.UNSET for entry in entries), np.bool_, len(entries))
    areas[given] = [entry.area for entry in entries if entry.area is not msgspec.UNSET]
    flags = [np.fromiter(map(attrgetter(key), entries), np.float64) for key in ("iscrowd", "difficult")]
    if (areas < 0).any() or not np.isfinite(areas).all() or not np.isin(flags, (0, 1)).all():
        return None
    return (*located, areas, flags[0] == 1, flags[1] == 1)


def regular_document(content: bytes) -> Any:
    """The value of a JSON document as `strict_json` has it; None hands over to it."""
    if not _is_plain(content) or b"0" * (MAX_DIGITS + 1) in content.translate(_ALL_DIGITS_ZERO):
        return None
    try:
        document = msgspec.json.decode(content)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return document if _quotes(document) == content.count(b'"') else None


def _pieces(content: bytes) -> Iterator[bytes]:
    """A JSON list as several, cut at commas behind closing braces; a cut in a wrong place is no JSON.

    Objects of one piece are reused for the next: 25 % faster than the whole list, with half the memory.
    """
    begin, last = 1, len(content) - 1
    while (brace := content.find(b"}", begin + PIECE_BYTES, last)) >= 0:
        comma = content.find(b",", brace, last)
        if comma < 0:
            break
        yield b"[%b]" % content[begin:comma]
        begin = comma + 1
    yield b"[%b]" % content[begin:last]


def _piece_columns(piece: bytes, known: Known) -> PredictedColumns | None:
    if not _is_plain(piece):
        return None
    try:
        entries = msgspec.json.decode(piece, type=list[_PredictedBox])
    except (msgspec.MsgspecError, RecursionError):
        return None
    if not _has_only_these_keys(piece, entries) or (located := _located(entries, known)) is None:
        return None
    return (*located, np.fromiter(map(attrgetter("score"), entries), np.float64, len(entries)))


def _is_plain(content: bytes) -> bool:
    return content.isascii() and b"\\" not in content


def _has_only_these_keys(content: bytes, entries: Sequence[_PredictedBox]) -> bool:
    """Whether no object has a further or a repeated key."""
    further = content.count(b'"') - QUOTES_PER_ENTRY * len(entries)
    if further == 0:
        return True
    texts = sum(type(entry.image_id) is str for entry in entries)
    texts += sum(type(entry.category_id) is str for entry in entries)
    return further == 2 * texts


def _quotes(document: Any) -> int:
    """How many quotes a document's keys and texts need, but for those in lists that begin with a number.

    Those lists are boxes and polygons; a text in one makes the count differ, and the document is handed over.
    """
    quotes = 0
    waiting: list[Iterable[Any]] = [[document]]
    while waiting:
        for value in waiting.pop():
            kind = type(value)
            if kind is str:
                quotes += 2
            elif kind is dict:
                quotes += 2 * len(value)
                waiting.append(value.values())
            elif kind is list and value and type(value[0]) not in (int, float):
                waiting.append(value)
    return quotes


def _located(entries: Sequence[_Box], known: Known) -> tuple[IntArray, IntArray, FloatArray] | None:
    """Image codes, category codes and boxes, if the reference knows all ids and all boxes are sound."""
    try:
        images = _codes(known.images, map(attrgetter("image_id"), entries), len(entries))
        categories = _codes(known.categories, map(attrgetter("category_id"), entries), len(entries))
    except KeyError:
        return None
    numbers = chain.from_iterable(map(attrgetter("bbox"), entries))
    boxes = np.fromiter(numbers, np.float64, 4 * len(entries)).reshape(-1, 4)
    return (images, categories, boxes) if _are_sound(boxes) else None


def _codes(known: Mapping[Id, int], identifiers: Iterable[Id], count: int) -> IntArray:
    return np.fromiter(map(known.__getitem__, identifiers), np.int64, count)


def _are_sound(boxes: FloatArray) -> bool:
    """The strict reader's rules for a bbox."""
    if (np.abs(boxes) > MAX_COORDINATE).any():
        return False
    sizes = boxes[:, 2:]
    vanishes = (sizes[:, 0] * sizes[:, 1] == 0) & (sizes > 0).all(axis=1)
    return not (sizes < 0).any() and not vanishes.any()
