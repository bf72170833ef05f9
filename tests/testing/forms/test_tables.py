"""What the contracts make of tables: right, wrong, reordered, odd and faulty ones."""

from __future__ import annotations

import json

import pytest

from autoscorer.reading.source import Role
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.testing.case import Case
from autoscorer.testing.forms import MAX_ENTRIES, Form, find_form
from autoscorer.testing.forms.tables import Tables

CARD = ScorerCard(name="mine", version="1", sha256="0" * 64, origin="process")
TRUTH = "id,label\n1,cat\n2,dog\n3,dog\n"
DELIVERED = "id,label\n3,fox\n1,cat\n2,dog\n"


def case_of(truth: str = TRUTH, delivered: str = DELIVERED, *, ending: str = "csv") -> Case:
    return Case(
        reference={f"gt.{ending}": truth.encode()}, predictions={f"pred.{ending}": delivered.encode()}
    )


def tables(case: Case) -> Form:
    form = find_form(CARD, case)
    assert isinstance(form, Tables)
    return form


def delivered(case: Case | None) -> str:
    assert case is not None
    return case.predictions["pred.csv"].decode()


def test_right_predictions_are_the_truths_values_in_the_delivered_columns() -> None:
    form = tables(case_of(delivered="note,id,label\nx,3,fox\ny,1,cat\nz,2,dog\n"))
    assert delivered(form.truth()) == "note,id,label\ny,1,cat\nz,2,dog\nx,3,dog\n"


def test_the_only_columns_of_both_sides_mean_the_same() -> None:
    form = tables(case_of("id,label\n1,0.5\n", "id,value\n1,2\n"))
    assert delivered(form.truth()) == "id,value\n1,0.5\n"


def test_what_is_right_in_columns_of_another_meaning_nobody_knows() -> None:
    form = tables(case_of("id,label\n1,cat\n", "id,p_cat,p_dog\n1,0.9,0.1\n"))
    assert form.truth() is None
    assert [variant.what for variant in form.worse()] == ["the example's own predictions"]


def test_every_row_can_be_wrong_though_the_truth_has_one_value() -> None:
    for truth, wrong in (("cat", "cat_"), ("1.5", "2.5")):
        form = tables(case_of(f"id,label\n1,{truth}\n2,{truth}\n", "id,label\n1,0\n2,0\n"))
        variants = {variant.what: delivered(variant.case) for variant in form.worse()}
        assert variants["pred.csv: every row is wrong"] == f"id,label\n1,{wrong}\n2,{wrong}\n"


def test_numbers_are_ordered_by_size_and_exchanged_by_it() -> None:
    form = tables(case_of("id,label\n1,10\n2,9\n3,1\n", "id,label\n1,1\n2,1\n3,1\n"))
    variants = {variant.what: delivered(variant.case) for variant in form.worse()}
    assert variants["pred.csv: large and small are exchanged"] == "id,label\n1,1\n2,9\n3,10\n"


def test_every_faulty_variant_is_another_and_only_on_the_side_that_is_named() -> None:
    form = tables(case_of())
    variants = list(form.faulty())
    assert len({variant.case.key for variant in variants}) == len(variants) > 15
    right = form.truth()
    assert right is not None
    for variant in variants:
        other = Role.PREDICTION if variant.role is Role.REFERENCE else Role.REFERENCE
        assert variant.case.files(other) in (form.case.files(other), right.files(other)), variant.what


def test_only_numbers_are_tried_as_nan() -> None:
    def odd_numbers(truth: str) -> int:
        form = tables(case_of(truth, truth))
        return sum("'nan'" in variant.what for variant in form.faulty())

    assert odd_numbers("id,label\n1,2.5\n2,3\n") == 1
    assert odd_numbers(TRUTH) == 0


def test_rows_are_reordered_on_one_side_at_a_time_and_keep_their_ids() -> None:
    form = tables(case_of())
    for variant in form.reordered():
        for name, files in (("gt.csv", variant.case.reference), ("pred.csv", variant.case.predictions)):
            original = {**form.case.reference, **form.case.predictions}
            assert sorted(files[name].splitlines()) == sorted(original[name].splitlines())
    assert {(variant.role, variant.exact) for variant in form.reordered()} == {
        (Role.PREDICTION, True),
        (Role.REFERENCE, False),
    }


def test_a_table_in_json_keeps_its_types() -> None:
    case = case_of('[{"id": 1, "value": 0.5}]', '[{"id": 1, "value": 2}]', ending="json")
    truth = tables(case).truth()
    assert truth is not None
    assert json.loads(truth.predictions["pred.json"]) == [{"id": 1, "value": 0.5}]


def test_of_many_rows_the_first_are_taken_on_both_sides() -> None:
    rows = "".join(f"{number},a\n" for number in range(MAX_ENTRIES + 7))
    form = tables(case_of("id,label\n" + rows, "id,label\n" + rows))
    assert form.case.reference["gt.csv"].count(b"\n") == MAX_ENTRIES + 1
    assert form.case.predictions["pred.csv"] == form.case.reference["gt.csv"]


@pytest.mark.parametrize(
    "delivered_text",
    ["id,label\n1,cat\n", "id,label\n1,cat\n1,cat\n3,dog\n", "name\nx\n", "", "id,label\n1\n", "\ud800"],
)
def test_what_is_no_table_of_the_same_ids_is_tried_whole(delivered_text: str) -> None:
    case = Case(
        reference={"gt.csv": TRUTH.encode()},
        predictions={"pred.csv": delivered_text.encode("utf-8", "surrogatepass")},
    )
    form = find_form(CARD, case)
    assert type(form) is Form
    assert form.case == case
    assert [variant.what for variant in form.faulty()][:2] == ["gt.csv is missing", "gt.csv is empty"]
