"""What the contracts make of boxes: right, wrong, reordered, odd and faulty ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autoscorer.schemas.scorer import ScorerCard
from autoscorer.testing.case import Case
from autoscorer.testing.forms import MAX_ENTRIES, Form, find_form
from autoscorer.testing.forms.boxes import Boxes

CARD = ScorerCard(
    name="mine",
    version="1",
    sha256="0" * 64,
    origin="process",
    reference_files=("gt.json",),
    prediction_files=("pred.json",),
)


def box(image: int = 1, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": 3, "bbox": [1, 2, 3, 4], **more}


def full(*annotations: dict[str, Any], images: int = 2) -> dict[str, Any]:
    return {
        "images": [{"id": number + 1} for number in range(images)],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": list(annotations),
    }


def case_of(truth: Any, delivered: Any) -> Case:
    return Case(
        reference={"gt.json": json.dumps(truth).encode()},
        predictions={"pred.json": json.dumps(delivered).encode()},
    )


def boxes(truth: Any, delivered: Any) -> Form:
    form = find_form(CARD, case_of(truth, delivered))
    assert isinstance(form, Boxes)
    return form


def predicted(case: Case | None) -> Any:
    assert case is not None
    return json.loads(case.predictions["pred.json"])


@pytest.mark.parametrize("truth", [full(box(1), box(2, iscrowd=1)), [box(1, area=12), box(2, difficult=1)]])
def test_right_predictions_are_the_boxes_that_count_with_scores(truth: Any) -> None:
    assert predicted(boxes(truth, []).truth()) == [box(1, score=1.0)]


def test_no_two_scores_are_equal_and_their_order_is_kept() -> None:
    form = boxes([box(1)], [box(score=0.5, n=1), box(score=0.9, n=2), box(score=0.5, n=3)])
    shown = predicted(form.case)
    assert [entry["n"] for entry in shown] == [2, 1, 3]
    assert len({entry["score"] for entry in shown}) == 3
    for variant in form.reordered():
        moved = predicted(variant.case)
        assert sorted(moved, key=str) == sorted(shown, key=str)


def test_every_faulty_variant_is_another() -> None:
    variants = list(boxes(full(box(1), box(2)), [box(score=0.5)]).faulty())
    assert len({variant.case.key for variant in variants}) == len(variants) > 12


def test_of_many_boxes_those_of_the_first_images_are_taken() -> None:
    truth = [box(image) for image in range(1, 52) for _ in range(MAX_ENTRIES // 50)]
    form = boxes(full(*truth, images=60), [box(image, score=0.5) for image in range(1, 61)])
    kept = json.loads(form.case.reference["gt.json"])
    assert len(kept["annotations"]) == MAX_ENTRIES
    assert {image["id"] for image in kept["images"]} == set(range(1, 51))
    assert {entry["image_id"] for entry in predicted(form.case)} == set(range(1, 51))


@pytest.mark.parametrize("truth", [[], {}, full(), [{"bbox": [1, 2, 3, 4]}], "text", [1], {"annotations": 3}])
def test_what_holds_no_box_is_tried_whole(truth: Any) -> None:
    assert type(find_form(CARD, case_of(truth, []))) is Form
