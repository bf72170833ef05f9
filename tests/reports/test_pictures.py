"""Pictures: asked for, drawn from what is listed, the same every time, and never led astray by a label."""

from __future__ import annotations

import csv
import io
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

import autoscorer
from autoscorer.reports import canvas
from autoscorer.reports.drawn_table import DrawnTable, UndrawableError, read_drawn_table
from autoscorer.reports.pictures import add_pictures, drawable_names
from autoscorer.schemas.result import Artifact, Result
from autoscorer.utils.errors import AutoscorerError
from tests.cli import call
from tests.scorers.tables import table
from tests.workspaces import ROOT, MakeWorkspace

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them

HOSTILE = [
    r"$\frac{1}{0}$",
    "$unclosed",
    r"$\nosuchcommand$",
    "two\nlines\ttab\r",
    "x" * 10_000,
    "猫",
    "\u202egnp.exe",
    "<script>&amp;</script>",
    "_hidden",
    "e" + "\u0301" * 60,
    "👩‍🚀",
    "%s {0}",
    "(3 others)",
]


def csv_bytes(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def confusion(names: Sequence[str]) -> bytes:
    rows = [
        [name, *(50 * (at == other) + other for other in range(len(names)))] for at, name in enumerate(names)
    ]
    return csv_bytes([["truth \\ predicted", *names], *rows])


def per_label(names: Sequence[str]) -> bytes:
    rows = [[name, 0.5, at / len(names), 1.0, at + 1] for at, name in enumerate(names)]
    return csv_bytes([["label", "f1", "precision", "recall", "support"], *rows])


def picture(name: str, content: bytes, rows_in_all: int | None = None) -> bytes:
    figure = import_module(f"autoscorer.reports.figures.{name}")
    return canvas.png(figure.draw, read_drawn_table(content, rows_in_all))


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the header."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_a_classification_gets_its_pictures_when_they_are_asked_for(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(truth=table(enumerate("aabb")), predictions=table(enumerate("abbb")))
    assert not [name for name in autoscorer.score(workspace).artifacts if name.endswith("_picture")]
    result = autoscorer.score(workspace, plots=True)
    found = {name: artifact for name, artifact in result.artifacts.items() if name.endswith("_picture")}
    assert {name: artifact.shows_truth for name, artifact in found.items()} == {
        "confusion_matrix_picture": True,
        "per_label_picture": False,
    }
    for artifact in found.values():
        content = (workspace / "output" / artifact.path).read_bytes()
        assert artifact.media_type == "image/png"
        assert artifact.size == len(content)
        assert min(size_of(content)) > 200
    assert result.timing["plots_seconds"] > 0
    assert Result.model_validate_json((workspace / "output" / "result.json").read_bytes()) == result


@pytest.mark.slow
def test_a_regression_gets_its_pictures_from_the_command_line(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(
        truth=table(enumerate([1.5, 2, 9])),
        predictions=table(enumerate([1, 2, 3])),
        spec={"scorer": "regression_rmse"},
    )
    answer = call("score", workspace, "--plots").answer
    assert answer["meta"]["warnings"] == []
    listed = answer["data"]["result"]["artifacts"]["predicted_vs_true_picture"]
    assert size_of((workspace / "output" / listed["path"]).read_bytes())


@pytest.mark.slow
def test_a_detection_gets_its_pictures_without_a_workspace(tmp_path: Path) -> None:
    truth = ROOT / "examples" / "detection" / "reference" / "gt.json"
    predictions = tmp_path / "pred.json"
    predictions.write_text("[]")
    files = ("--reference", truth, "--predictions", predictions, "--scorer", "detection_map")
    assert call("score", *files, "--plots").exit_code == 2
    listed = call("score", *files, "--plots", "--output", tmp_path / "out").answer["data"]["result"][
        "artifacts"
    ]
    for name in ("per_category_picture", "precision_recall_picture"):
        assert size_of((tmp_path / "out" / listed[name]["path"]).read_bytes())


@pytest.mark.slow
def test_the_drawing_library_is_loaded_for_pictures_only(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(truth=table(enumerate("ab")), predictions=table(enumerate("ab")))
    script = (
        "import sys, autoscorer\n"
        "autoscorer.score(sys.argv[1], plots=len(sys.argv) > 2)\n"
        "print('matplotlib' in sys.modules)"
    )
    for more, loaded in (((), "False"), (("plots",), "True")):
        command = [sys.executable, "-c", script, str(workspace), *more]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == loaded


def test_without_the_extra_it_says_what_to_install_before_anything_is_scored(
    make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace(truth=table(enumerate("ab")), predictions=table(enumerate("ab")))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(AutoscorerError, match=r"pip install 'autoscorer\[plots\]'") as caught:
        autoscorer.score(workspace, plots=True)
    assert caught.value.code == "RESOURCE_UNAVAILABLE"
    assert not (workspace / "output" / "result.json").exists()
    assert autoscorer.score(workspace).summary["score"] == 1.0


@pytest.mark.parametrize(("name", "make"), [("confusion_matrix", confusion), ("per_label", per_label)])
def test_no_label_is_taken_for_a_formula_a_line_break_or_a_command(name: str, make: Any) -> None:
    content = picture(name, make(HOSTILE))
    assert max(size_of(content)) < 4_000
    assert len(content) < 2**20


def test_a_label_would_be_taken_for_a_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: with matplotlib's own setting the picture fails."""
    monkeypatch.setitem(canvas._STYLE, name="text.parse_math", value=True)
    with pytest.raises(ValueError, match="nosuchcommand"):
        picture("per_label", per_label(HOSTILE))


def test_labels_are_short_and_on_one_line() -> None:
    shown = [DrawnTable(["a"], [], 0).shown(label) for label in HOSTILE]
    assert all(len(label) <= 24 and label.isprintable() for label in shown)
    assert shown[3] == r"two\nlines\ttab\r"
    assert len(set(shown)) == len(shown)


def test_a_character_that_no_font_has_becomes_an_escape_and_no_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(canvas, "_font_with", lambda _wanted: None)
    seen: list[str] = []

    def draw(drawn: DrawnTable) -> Any:
        seen.extend(drawn.texts("label"))
        return import_module("autoscorer.reports.figures.per_label").draw(drawn)

    canvas.png(draw, read_drawn_table(per_label(["猫", "Größe"]), None))
    assert seen == [r"\u732b", "Größe"]


@pytest.mark.slow
def test_pictures_are_the_same_bytes_in_any_process_and_folder(tmp_path: Path) -> None:
    script = (
        "import sys, hashlib, pathlib, matplotlib\n"
        "from tests.reports import test_pictures as t\n"
        "png = t.picture('confusion_matrix', t.confusion(['cat', 'dog', '\\u732b']))\n"
        "print(matplotlib.rcParams['text.usetex'], hashlib.sha256(png).hexdigest())"
    )
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\naxes.facecolor: red\n")
    found = {}
    for folder, seed in ((ROOT, "1"), (tmp_path, "2")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found[folder] = done.stdout.split()
    # The control: matplotlib itself goes by the file in the working directory.
    assert [found[folder][0] for folder in (ROOT, tmp_path)] == ["False", "True"]
    assert found[ROOT][1] == found[tmp_path][1]


def test_the_callers_own_settings_are_left_alone() -> None:
    with mpl.rc_context({"font.size": 33.0}):
        picture("per_label", per_label(["a"]))
        assert mpl.rcParams["font.size"] == 33.0


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "artifacts").mkdir()
    return tmp_path


def result_with(output: Path, name: str, content: bytes, **facts: Any) -> Result:
    """A result that lists one table of a scorer of somebody's own."""
    (output / "artifacts" / f"{name}.csv").write_bytes(content)
    listed = {
        "path": f"artifacts/{name}.csv",
        "size": len(content),
        "sha256": "0" * 64,
        "media_type": "text/csv",
    }
    versioning = {"scorer": "own", "version": "1", "timestamp": "now"}
    artifacts = {name: Artifact.model_validate(listed | facts)}
    return Result(summary={}, metrics={}, artifacts=artifacts, versioning=versioning)


def test_a_table_of_somebodys_own_scorer_is_drawn_too(output: Path) -> None:
    result, doubts = add_pictures(
        result_with(output, "per_label", per_label(["a", "b"]), shows_truth=False), output
    )
    assert not doubts
    assert not result.artifacts["per_label_picture"].shows_truth


UNDRAWABLE = {
    "no CSV": b'"open',
    "no UTF-8": b"\xff\xfe",
    "nothing": b"",
    "only a header": b"label,f1,precision,recall,support\n",
    "other columns": b"a,b\n1,2\n",
    "ragged": b"label,f1,precision,recall,support\na,1\n",
    "no numbers": b"label,f1,precision,recall,support\na,x,y,z,w\n",
}


@pytest.mark.parametrize("content", UNDRAWABLE.values(), ids=UNDRAWABLE.keys())
def test_a_table_of_another_form_is_a_doubt_and_no_picture(content: bytes, output: Path) -> None:
    result, doubts = add_pictures(result_with(output, "per_label", content), output)
    assert list(result.artifacts) == ["per_label"]
    assert len(doubts) == 1
    assert doubts[0].startswith("artifacts/per_label.csv is not drawn")


def test_a_picture_that_the_scorer_made_stays(output: Path) -> None:
    result = result_with(output, "per_label", per_label(["a"]))
    own = Artifact.model_validate({"path": "artifacts/per_label.png", "size": 3, "sha256": "0" * 64})
    (output / own.path).write_bytes(b"own")
    with_own = result.model_copy(update={"artifacts": {**result.artifacts, "mine": own}})
    assert add_pictures(with_own, output) == (with_own, [])
    assert (output / own.path).read_bytes() == b"own"


HEADERS = {
    "per_label": ["label", "f1", "precision", "recall", "support"],
    "per_category": ["category", "AP", "AP_50", "true_boxes"],
    "precision_recall": ["iou", "recall", "precision"],
    "predicted_vs_true": ["truth", "predicted"],
    "confusion_matrix": ["truth", "a"],
}
ODD_NUMBERS = ("", "nan", "inf", "-inf", "1e308", "1e99", "-1e99", "1e-320", "0", "0.5", "1")


@pytest.mark.slow
@pytest.mark.parametrize("name", drawable_names())
def test_whatever_number_stands_in_a_table_it_is_drawn_or_named(name: str) -> None:
    drawn = 0
    for number in ODD_NUMBERS:
        try:
            content = picture(name, csv_bytes([HEADERS[name], [number] * len(HEADERS[name])]))
        except UndrawableError:
            continue
        assert max(size_of(content)) < 4_000
        drawn += 1
    assert drawn > 2
