"""Boxes of a detection task: the truth in COCO's form or as a flat list, the predictions as a list."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

from autoscorer.reading.source import Role
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.testing.case import Case
from autoscorer.testing.forms import MAX_ENTRIES, Form, Variant

Box = dict[str, Any]
CATEGORY_KEYS = ("category_id", "category", "label")
IGNORED_KEYS = ("iscrowd", "difficult")
FAR_PX = 100_000


def recognise(card: ScorerCard, case: Case) -> Form | None:
    """The form of ``case`` if both sides are lists of boxes in JSON."""
    names = [case.name_of(card, role) for role in Role]
    if None in names:
        return None
    try:
        documents = [json.loads(case.files(role)[str(name)]) for role, name in zip(Role, names, strict=True)]
    except (ValueError, RecursionError):
        return None
    if not _entries(documents[0]) or not all(_are_boxes(_entries(document)) for document in documents):
        return None
    return Boxes(card, case, documents[0], _entries(documents[1]))


def _entries(document: Any) -> Any:
    return document.get("annotations") if isinstance(document, dict) else document


def _are_boxes(entries: Any) -> bool:
    return isinstance(entries, list) and all(
        isinstance(box, dict)
        and "image_id" in box
        and isinstance(box.get("bbox"), list)
        and any(key in box for key in CATEGORY_KEYS)
        for box in entries
    )


class Boxes(Form):
    """The first images, so many that they have at most `MAX_ENTRIES` true boxes; no two scores are equal."""

    def __init__(self, card: ScorerCard, case: Case, document: Any, delivered: list[Box]) -> None:
        super().__init__(card, case)
        self.names = {role: str(case.name_of(card, role)) for role in Role}
        self.document = _first_images(document)
        self.annotations: list[Box] = _entries(self.document)
        images = _images(self.document)
        ranked = sorted((box for box in delivered if box["image_id"] in images), key=_by_score)
        self.delivered = _scored(ranked)
        true = [box for box in self.annotations if not any(box.get(key) for key in IGNORED_KEYS)]
        self.right = _scored([_predictable(box) for box in true])
        self.case = self._predicting(self.delivered, self.document)

    def truth(self) -> Case | None:
        return super().truth() if self.case.perfect is not None else self._predicting(self.right)

    def worse(self) -> Iterator[Variant]:
        yield from super().worse()
        far = [_moved(box) for box in self.right]
        yield self._predicted("no box is in its place", far)
        yield self._predicted("there is no box", [])
        yield self._predicted("one box is missing", self.right[1:])
        yield self._predicted("one box is not in its place", [far[0], *self.right[1:]])
        surest = {**far[0], "score": 2.0}
        yield self._predicted("one box more, the surest, is wrong", [surest, *self.right])

    def reordered(self) -> Iterator[Variant]:
        orders = {"backwards": self.delivered[::-1]}
        for seed in (1, 2):
            shuffler = random.Random(seed)  # noqa: S311 - no secret
            orders[f"shuffled (seed {seed})"] = shuffler.sample(self.delivered, len(self.delivered))
        for what, boxes in orders.items():
            yield Variant(what=f"the predictions {what}", case=self._predicting(boxes))
        case = self._predicting(self.delivered, _with_entries(self.document, self.annotations[::-1]))
        yield Variant(what="the truth backwards", case=case, role=Role.REFERENCE, exact=False)

    def odd(self) -> Iterator[Variant]:
        yield self._predicted("there is no box", [])
        flat = [{**box, "bbox": [*box["bbox"][:2], 0, 0]} for box in self.right]
        yield self._predicted("no box has a size", flat)
        one = _with_entries(self.document, self.annotations[:1])
        found = [box for box in self.right if _bare(box) == _predictable(self.annotations[0])]
        case = self._predicting(found, one)
        yield Variant(what="the truth has one box", case=case, role=Role.REFERENCE)
        crowd = _with_entries(self.document, [{**box, "iscrowd": 1} for box in self.annotations])
        case = self._predicting(self.right, crowd)
        yield Variant(what="no box of the truth counts (iscrowd)", case=case, role=Role.REFERENCE)

    def faulty(self) -> Iterator[Variant]:
        yield from super().faulty()
        box, rest = self.right[0], self.right[1:]
        category = next(key for key in CATEGORY_KEYS if key in box)
        changes: dict[str, Box] = {
            "an image that the truth has not": {"image_id": "no such image"},
            "a category that the truth has not": {category: "no such category"},
            "a box of three numbers": {"bbox": [1, 2, 3]},
            "a negative width": {"bbox": [1, 2, -3, 4]},
            "a score of NaN": {"score": float("nan")},
            "a score that is a word": {"score": "high"},
        }
        for what, change in changes.items():
            yield self._predicted(what, [{**box, **change}, *rest])
        yield self._predicted("a box without a score", [_bare(box), *rest])
        yield from self._faulty_truth()

    def _faulty_truth(self) -> Iterator[Variant]:
        first, *rest = self.annotations
        variants = {"a box of two numbers": [{**first, "bbox": [1, 2]}, *rest], "no box": []}
        for what, boxes in variants.items():
            case = self._predicting(self.right, _with_entries(self.document, boxes))
            yield Variant(what=f"{self.names[Role.REFERENCE]}: {what}", case=case, role=Role.REFERENCE)

    def _predicted(self, what: str, boxes: Iterable[Box]) -> Variant:
        return Variant(what=f"{self.names[Role.PREDICTION]}: {what}", case=self._predicting(boxes))

    def _predicting(self, boxes: Iterable[Box], document: Any = None) -> Case:
        case = self.case
        if document is not None:
            case = case.with_file(Role.REFERENCE, self.names[Role.REFERENCE], json.dumps(document).encode())
        return case.with_file(Role.PREDICTION, self.names[Role.PREDICTION], json.dumps(list(boxes)).encode())


def _first_images(document: Any) -> Any:
    """The document with its first images only."""
    entries = _entries(document)
    kept: set[Any] = set()
    for taken, box in enumerate(entries):
        if taken >= MAX_ENTRIES and box["image_id"] not in kept:
            break
        kept.add(box["image_id"])
    if len(entries) <= MAX_ENTRIES:
        return document
    few = _with_entries(document, [box for box in entries if box["image_id"] in kept])
    if isinstance(few, dict) and "images" in few:
        few["images"] = [image for image in few["images"] if image.get("id") in kept]
    return few


def _images(document: Any) -> set[Any]:
    images = {box["image_id"] for box in _entries(document)}
    if isinstance(document, dict):
        images |= {image.get("id") for image in document.get("images", ())}
    return images


def _with_entries(document: Any, entries: list[Box]) -> Any:
    return {**document, "annotations": entries} if isinstance(document, dict) else entries


def _predictable(box: Box) -> Box:
    """What a prediction says of a true box."""
    return {key: box[key] for key in ("image_id", *CATEGORY_KEYS, "bbox") if key in box}


def _bare(box: Box) -> Box:
    return {key: value for key, value in box.items() if key != "score"}


def _scored(boxes: list[Box]) -> list[Box]:
    """The boxes with scores that fall from 1, no two alike: equal ones go by the order of the file."""
    return [{**box, "score": 1 - place / (len(boxes) + 1)} for place, box in enumerate(boxes)]


def _by_score(box: Box) -> float:
    score = box.get("score")
    return -float(score) if isinstance(score, int | float) else 0.0


def _moved(box: Box) -> Box:
    x, y, width, height = box["bbox"]
    return {**box, "bbox": [x + FAR_PX, y + FAR_PX, width, height]}
