"""What a scorer's file registers is found, with no trace in this process; its fault has a file and a line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscorer.scorers.host import Code
from autoscorer.scorers.loading import describe, load_code
from autoscorer.scorers.registry import load_builtin
from autoscorer.utils.errors import AutoscorerError

SHA256 = "5" * 64
GOOD = """from autoscorer import BaseScorer, register

@register("mine", aliases=("my",))
class Mine(BaseScorer):
    name = "mine"
    version = "1.2"
    task = "ranking"
    primary_metric = "ndcg"
    higher_is_better = True

    def score(self, workspace, params):
        return None
"""


@pytest.fixture(autouse=True)
def _leave_no_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith("autoscorer."):
            del sys.modules[name]


def written(folder: Path, text: str, name: str = "mine.py") -> Code:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Code(path=path)


def fault(code: Code) -> AutoscorerError:
    with pytest.raises(AutoscorerError) as caught:
        describe(code, SHA256)
    assert (caught.value.code, caught.value.cause) == ("SCORER_NOT_FOUND", "unloadable")
    return caught.value


def test_a_file_is_described_by_what_it_declares(tmp_path: Path) -> None:
    (card,) = describe(written(tmp_path, GOOD), SHA256)
    assert (card.name, card.aliases, card.version, card.origin) == ("mine", ("my",), "1.2", "stored")
    assert (card.task, card.primary_metric, card.higher_is_better) == ("ranking", "ndcg", True)
    assert card.pin == f"mine@{SHA256}"


def test_what_a_file_registers_stays_out_of_this_process(tmp_path: Path) -> None:
    load_code(written(tmp_path, GOOD))
    assert load_builtin().lookup("mine") is None


def test_a_file_may_use_a_name_that_is_in_use_here(tmp_path: Path) -> None:
    code = written(tmp_path, GOOD.replace('"mine"', '"classification_f1"'))
    assert describe(code, SHA256)[0].name == "classification_f1"
    assert load_builtin().get("classification_f1").version == "1.0.0"


def test_a_file_hides_no_module_of_its_name(tmp_path: Path) -> None:
    import colorsys

    describe(written(tmp_path, GOOD, "colorsys.py"), SHA256)
    assert sys.modules["colorsys"] is colorsys


def test_a_package_imports_its_own_modules(tmp_path: Path) -> None:
    written(tmp_path, "VERSION = '7'\n", "mypack/first.py")
    written(tmp_path, "from mypack.first import VERSION\n", "mypack/second.py")
    text = GOOD.replace('"1.2"', "VERSION")
    written(tmp_path, "from .second import VERSION\n" + text, "mypack/__init__.py")
    assert describe(Code(path=tmp_path / "mypack"), SHA256)[0].version == "7"


def test_a_package_that_would_hide_another_is_refused(tmp_path: Path) -> None:
    written(tmp_path, GOOD, "pytest/__init__.py")
    assert "would hide another" in fault(Code(path=tmp_path / "pytest")).message


def test_an_installed_module_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    written(tmp_path, GOOD, "installed_pack.py")
    with load_builtin().recording():  # so that it is gone again after the test
        (card,) = describe(Code(module="installed_pack"), SHA256, origin="entry_point")
    assert (card.name, card.origin) == ("mine", "entry_point")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("x = 1\ndef broken(:\n", 2, "cannot be read as Python"),
        ("x = 1\n\nimport no_such_module_anywhere\n", 3, "No module named 'no_such_module_anywhere'"),
        ("def f():\n    return 1 / 0\n\nf()\n", 2, "ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(0)\n", 2, "SystemExit: 0"),
        ("raise BaseException('like a native panic')\n", 1, "BaseException: like a native panic"),
        (GOOD.replace('version = "1.2"', ""), 3, "it needs name, version"),
        (GOOD.replace('name = "mine"', 'name = "thine"'), 3, "calls itself 'thine'"),
        (GOOD.replace("def score", "def scores"), 3, "abstract"),
        ("x = 1\n", None, "registers no scorer"),
        ("", None, "registers no scorer"),
        (GOOD.replace('"ranking"', "5"), None, "declares for mine what cannot be right: task"),
        ("\0", None, "cannot be"),
    ],
)
def test_a_fault_has_a_line(tmp_path: Path, text: str, line: int | None, says: str) -> None:
    error = fault(written(tmp_path, text))
    assert says in error.message
    assert error.details.get("line") == line
    assert error.details["file"] == "mine.py"
    assert str(tmp_path) not in error.message


def test_a_fault_in_a_package_names_the_file_in_it(tmp_path: Path) -> None:
    written(tmp_path, "x = 1\ny = x / 0\n", "mypack/sub/deep.py")
    written(tmp_path, "import mypack.sub.deep\n", "mypack/__init__.py")
    error = fault(Code(path=tmp_path / "mypack"))
    assert (error.details["file"], error.details["line"]) == ("mypack/sub/deep.py", 2)


def test_a_module_that_is_missing_is_named(tmp_path: Path) -> None:
    assert fault(written(tmp_path, "import helper_of_mine.deep\n")).details["missing"] == "helper_of_mine"
