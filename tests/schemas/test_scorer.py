"""A scorer's card and the example in it: plain data that names no file outside its folder."""

from __future__ import annotations

from typing import Any

import pytest

from autoscorer.schemas.scorer import Example, ScorerCard


def card(**changes: Any) -> ScorerCard:
    given = {"name": "mine", "version": "1", "sha256": "0" * 64, "origin": "stored"}
    return ScorerCard.model_validate(given | changes)


def test_a_card_with_an_example_comes_back_from_json_as_it_was() -> None:
    example = Example(reference={"gt.csv": "id,label\n"}, predictions={"runs/1.txt": "…"}, metrics={"m": 0.5})
    written = card(example=example)
    assert ScorerCard.model_validate_json(written.model_dump_json()) == written


@pytest.mark.parametrize(
    "name", ["../gt.csv", "/gt.csv", "a/../../b", "", ".", "..", "a//b", "a/", "./a", "a\\b", "a\0", "a\nb"]
)
@pytest.mark.parametrize("field", ["reference", "predictions", "perfect"])
def test_an_example_names_only_files_below_its_folder(field: str, name: str) -> None:
    files: dict[str, Any] = {"reference": {}, "predictions": {}, field: {name: "text"}}
    with pytest.raises(ValueError, match=r"such as gt\.csv"):
        Example(**files)
    with pytest.raises(ValueError, match=r"such as gt\.csv"):
        card(example=files)


def test_an_example_holds_texts() -> None:
    with pytest.raises(ValueError, match="texts by file name"):
        Example(reference={"gt.csv": b"bytes"}, predictions={})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../gt.csv", "a/gt.csv", "..", ".", "", "a\0", "a\\b", "é" * 101]
)
@pytest.mark.parametrize("field", ["reference_files", "prediction_files"])
def test_the_files_a_scorer_looks_for_are_bare_names(field: str, name: str) -> None:
    """We make links under these names; with a path a scorer's card would plant them anywhere."""
    with pytest.raises(ValueError, match="names plain files"):
        card(**{field: ("gt.csv", name)})
    assert card(**{field: ("gt.csv", "Proben Nr. 1.csv")})
