"""One entry of a detection file: what it may hold, and what is said when it holds something else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from autoscorer.reading.source import Source
from autoscorer.reading.text import SHOWN_OFFENDERS, shown

Id = int | str
Parsed = TypeVar("Parsed")

CATEGORY_KEYS = ("category_id", "category", "label")
# Far beyond any image, and small enough that no area or sum of areas overflows.
MAX_COORDINATE = 1e9
TRUE_EXAMPLE = '{"image_id": 1, "category_id": 3, "bbox": [10.0, 20.0, 30.0, 40.0]}'
PREDICTED_EXAMPLE = TRUE_EXAMPLE[:-1] + ', "score": 0.9}'


class EntryFaultError(ValueError):
    """What is wrong with one entry; becomes an AutoscorerError with the file's name and the index."""


class Known(NamedTuple):
    """What an entry may refer to: images by id, categories by id or by unique name; values are codes."""

    images: Mapping[Id, int]
    categories: Mapping[Id, int]


class Entry(NamedTuple):
    """One box. ``area`` and ``score`` are None where the file gives none."""

    image: int
    category: int
    bbox: Sequence[float]
    area: float | None
    score: float | None
    crowd: bool
    difficult: bool


def parse_all(
    items: Iterable[Any], parse: Callable[[Any], Parsed], source: Source, kind: str, example: str
) -> list[Parsed]:
    """``parse`` applied to every item. Raises BAD_FORMAT naming the first items that it refuses."""
    parsed: list[Parsed] = []
    offenders: list[tuple[int, str]] = []
    for index, item in enumerate(items):
        try:
            parsed.append(parse(item))
        except EntryFaultError as fault:
            offenders.append((index, str(fault)))
            if len(offenders) == SHOWN_OFFENDERS:
                break
    if not offenders:
        return parsed
    index, what = offenders[0]
    also = ", ".join(str(other) for other, _ in offenders[1:])
    more = f" (faults also in {kind} {also})" if also else ""
    raise source.fault(
        "BAD_FORMAT",
        f"{source.name}, {kind} {index}: {what}{more}",
        {
            "index": index,
            "offenders": [f"{kind} {at}: {why}" for at, why in offenders],
            "expected": "objects like the example, indices count from 0",
            "example": example,
        },
    )


def parse_entry(entry: Any, known: Known, *, scored: bool) -> Entry:
    """The box of ``entry``; with ``scored`` its score too. Raises EntryFaultError."""
    check_object(entry)
    return Entry(
        image=_code(known.images, "image_id", image_id(entry), "of the reference"),
        category=_code(known.categories, *category_id(entry), "that the reference declares"),
        bbox=_bbox(entry),
        area=_area(entry) if "area" in entry and not scored else None,
        score=_finite(required(entry, "score"), "score") if scored else None,
        crowd=_flag(entry, "iscrowd"),
        difficult=_flag(entry, "difficult"),
    )


def check_object(entry: Any) -> None:
    if not isinstance(entry, dict):
        raise EntryFaultError(f"it is {json_kind(entry)}, not an object")


def image_id(entry: Mapping[str, Any]) -> Id:
    return as_id(required(entry, "image_id"), "image_id")


def category_id(entry: Mapping[str, Any]) -> tuple[str, Id]:
    """The key that names the category, and its value; the first of CATEGORY_KEYS that is there."""
    for key in CATEGORY_KEYS:
        if key in entry:
            return key, as_id(entry[key], key)
    raise EntryFaultError("it has no category_id")


def as_id(value: Any, key: str) -> Id:
    """``value`` if it is a whole number or a string; ``1`` and ``"1"`` stay different ids."""
    if type(value) not in (int, str):
        raise EntryFaultError(f"{key} is {shown_value(value)}; it must be a whole number or a string")
    identifier: Id = value
    return identifier


def required(entry: Mapping[str, Any], key: str) -> Any:
    if key not in entry:
        raise EntryFaultError(f"it has no {key}")
    return entry[key]


def shown_value(value: Any) -> str:
    """A value as its JSON text, shortened; a list or an object by its kind alone."""
    if isinstance(value, str):
        quoted = shown(value)
        return f'"{quoted[1:-1]}"' if quoted.startswith("'") and quoted.endswith("'") else quoted
    if type(value) in (int, float):
        return shown(str(value)).strip("'")
    return json_kind(value)


def json_kind(value: Any) -> str:
    """What JSON calls ``value``, with its article."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    kinds = {dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number"}
    return kinds[type(value)]


def _code(known: Mapping[Id, int], key: str, identifier: Id, where: str) -> int:
    code = known.get(identifier)
    if code is None:
        raise EntryFaultError(f"{key} {shown_value(identifier)} is none {where}{_twin(known, identifier)}")
    return code


def _twin(known: Mapping[Id, int], identifier: Id) -> str:
    """A hint for the usual cause: the same digits as a number on one side, as text on the other."""
    if isinstance(identifier, int):
        return f'; it has the text "{identifier}"' if str(identifier) in known else ""
    # int() also reads " 1", "1_0" and other scripts' digits; only a JSON number's own text is a twin.
    is_number = identifier.isascii() and identifier.lstrip("-").isdigit() and len(identifier) < 20
    if is_number and int(identifier) in known:
        return f"; it has the number {int(identifier)} (without quotes)"
    return ""


def _bbox(entry: Mapping[str, Any]) -> Sequence[float]:
    bbox = required(entry, "bbox")
    if type(bbox) is not list:
        raise EntryFaultError(f"bbox is {shown_value(bbox)}, not a list [x, y, width, height]")
    if len(bbox) != 4:
        raise EntryFaultError(f"bbox has {len(bbox)} numbers, not the four of [x, y, width, height]")
    for value in bbox:
        if type(value) not in (int, float):
            raise EntryFaultError(f"bbox holds {shown_value(value)}, which is not a number")
        if not -MAX_COORDINATE <= value <= MAX_COORDINATE:
            raise EntryFaultError(f"bbox holds {shown_value(value)}; no coordinate is beyond ±1e9")
    width, height = float(bbox[2]), float(bbox[3])
    if width < 0 or height < 0:
        raise EntryFaultError(f"bbox has the negative size {shown_value(min(bbox[2:]))}")
    if width > 0 and height > 0 and width * height == 0:
        raise EntryFaultError(f"bbox has the size {width} × {height}, too small to have an area")
    return bbox


def _area(entry: Mapping[str, Any]) -> float:
    area = _finite(entry["area"], "area")
    if area < 0:
        raise EntryFaultError(f"area is negative: {shown_value(area)}")
    return area


def _finite(value: Any, key: str) -> float:
    if type(value) not in (int, float):
        raise EntryFaultError(f"{key} is {shown_value(value)}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise EntryFaultError(f"{key} is {shown_value(value)}, not a finite number")
    return number


def _flag(entry: Mapping[str, Any], key: str) -> bool:
    value = entry.get(key, 0)
    if type(value) not in (int, bool) or value not in (0, 1):
        raise EntryFaultError(f"{key} is {shown_value(value)}; it must be 0 or 1")
    return bool(value)
