"""A fault says where it is: the line of a number, the place of an id nobody asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscorer.reading.align import load_labels
from autoscorer.reading.source import Role, Source
from autoscorer.reading.strict import strict_json
from autoscorer.utils.errors import AutoscorerError


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[\n{"id": "NaN",\n"label": NaN}]', 3),
        ("[1,\n2,\n-Infinity]", 3),
        ('["1e400",\n1e400]', 2),
        ("[\n" + "9" * 400 + "]", 2),
        ('["a\\" NaN",\n\nNaN]', 3),
    ],
)
def test_a_number_that_is_none_is_named_with_its_line(text: str, line: int) -> None:
    with pytest.raises(AutoscorerError) as caught:
        strict_json(text.encode(), Source(Role.PREDICTION, "output/pred.json", Path()))
    assert caught.value.details["line"] == line
    assert f"line {line}" in caught.value.message


@pytest.mark.parametrize(
    ("name", "content", "unit", "number", "example"),
    [
        ("pred.csv", "id,label\n1,a\nx,b\n", "line", 3, "id,label\n"),
        ("pred.json", '[{"id": 1, "label": "a"}, {"id": "x", "label": "b"}]', "index", 1, '[{"id": "1"'),
    ],
)
def test_an_id_nobody_asked_for_is_named_with_its_place(
    tmp_path: Path, name: str, content: str, unit: str, number: int, example: str
) -> None:
    (tmp_path / "gt.csv").write_text("id,label\n1,a\n2,b\n")
    (tmp_path / name).write_text(content)
    reference = Source(Role.REFERENCE, "reference/gt.csv", tmp_path / "gt.csv")
    with pytest.raises(AutoscorerError) as caught:
        load_labels(reference, Source(Role.PREDICTION, f"output/{name}", tmp_path / name))
    assert caught.value.details[unit] == number
    assert caught.value.details["example"].startswith(example)
