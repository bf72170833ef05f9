"""A scorer of an installed package is found by its entry point and imported only apart."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.host import Code
from autoscorer.scorers.installed import InstalledScorers, installed_names
from autoscorer.scorers.loading import describe
from autoscorer.scorers.registry import load_builtin
from autoscorer.utils.errors import AutoscorerError
from tests.scorers.library.sources import scorer_text, write

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package of one module as pip would; gives the module's path."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(text: str, *, announced: str = "mine", module: str = "metrics_of_mine.scorers") -> Path:
        info = tmp_path / "metrics_of_mine-3.1.dist-info"
        write(info / "METADATA", "Metadata-Version: 2.1\nName: metrics-of-mine\nVersion: 3.1\n")
        write(info / "entry_points.txt", f"[autoscorer.scorers]\n{announced} = {module}\n")
        write(tmp_path / "metrics_of_mine" / "__init__.py", "raise SystemExit('imported here')\n")
        return write(tmp_path / "metrics_of_mine" / "scorers.py", text)

    return install


class Asked:
    """Stands for the child: says what a module registers, and counts how often it was asked."""

    def __init__(self, *names: str) -> None:
        self.names, self.times = names, 0

    def __call__(self, code: Code, sha256: str) -> list[ScorerCard]:
        self.times += 1
        assert code.module == "metrics_of_mine.scorers"
        return [
            ScorerCard(name=name, version="1", sha256=sha256, origin="entry_point") for name in self.names
        ]


def test_an_announced_scorer_is_found_without_importing_anything(tmp_path: Path, install: Install) -> None:
    install(scorer_text())
    asked = Asked("other", "mine")
    entry = InstalledScorers(tmp_path / "cards", asked).find("mine")
    assert entry is not None
    assert (entry.card.name, entry.card.origin, entry.instance) == ("mine", "entry_point", None)
    assert entry.code == Code(module="metrics_of_mine.scorers")
    assert "metrics_of_mine" not in sys.modules
    assert installed_names() == {"mine": "the installed package metrics-of-mine 3.1"}


def test_a_card_is_asked_for_once_while_the_code_is_the_same(tmp_path: Path, install: Install) -> None:
    install(scorer_text())
    asked = Asked("mine")
    for _ in range(2):
        first = InstalledScorers(tmp_path / "cards", asked).find("mine")
    assert asked.times == 1
    install(scorer_text(version="2"))
    second = InstalledScorers(tmp_path / "cards", asked).find("mine")
    assert asked.times == 2
    assert first is not None
    assert second is not None
    assert first.card.sha256 != second.card.sha256


@pytest.mark.parametrize("size", [10, 3 * 2**20], ids=["small", "large"])
@pytest.mark.parametrize("name", ["kernels.cpython-311-x86_64-linux-gnu.so", "data/weights.npz"])
def test_a_file_of_the_package_that_is_no_python_is_part_of_its_content(
    tmp_path: Path, install: Install, name: str, size: int
) -> None:
    folder = install(scorer_text()).parent
    write(folder / name, "a" * size)
    found = [InstalledScorers(tmp_path / "cards", Asked("mine")).find("mine") for _ in range(2)]
    write(folder / name, "b" * size)
    found.append(InstalledScorers(tmp_path / "cards", Asked("mine")).find("mine"))
    first, same, changed = [entry.card.sha256 for entry in found if entry is not None]
    assert first == same != changed


def test_a_cache_that_python_wrote_is_not(tmp_path: Path, install: Install) -> None:
    folder = install(scorer_text()).parent
    before = InstalledScorers(tmp_path / "cards", Asked("mine")).find("mine")
    write(folder / "__pycache__" / "scorers.cpython-311.pyc", "compiled")
    after = InstalledScorers(tmp_path / "cards", Asked("mine")).find("mine")
    assert before is not None
    assert after is not None
    assert before.card.sha256 == after.card.sha256


def test_a_damaged_card_is_asked_for_again(tmp_path: Path, install: Install) -> None:
    install(scorer_text())
    asked = Asked("mine")
    InstalledScorers(tmp_path / "cards", asked).find("mine")
    (kept,) = (tmp_path / "cards").iterdir()
    kept.write_text('[{"name": 5')
    assert InstalledScorers(tmp_path / "cards", asked).find("mine") is not None
    assert asked.times == 2


def test_a_pin_finds_only_its_content(tmp_path: Path, install: Install) -> None:
    install(scorer_text())
    scorers = InstalledScorers(tmp_path / "cards", Asked("mine"))
    entry = scorers.find("mine")
    assert entry is not None
    assert scorers.find(entry.card.pin) == entry
    assert scorers.find(f"mine@{'0' * 64}") is None


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("no_such_package.scorers", "is not there to be imported"),
        ("metrics_of_mine.scorers", "no scorer called"),
    ],
)
def test_a_package_that_does_not_hold_what_it_announces_hides_no_other(
    tmp_path: Path, install: Install, module: str, says: str
) -> None:
    install(scorer_text(), module=module)
    scorers = InstalledScorers(tmp_path / "cards", Asked("other"))
    assert scorers.entries() == []
    assert says in scorers.failures["mine"].message
    with pytest.raises(AutoscorerError, match=says) as caught:
        scorers.find("mine")
    assert caught.value.cause == "unloadable"


def test_in_the_child_a_package_gives_its_own_scorers_alone(tmp_path: Path, install: Install) -> None:
    install(scorer_text())
    write(tmp_path / "metrics_of_mine" / "__init__.py", "")
    with load_builtin().recording():  # what this process imports here goes with the test
        cards = describe(Code(module="metrics_of_mine.scorers"), "0" * 64, origin="entry_point")
    assert [card.name for card in cards] == ["mine"]
    for name in [name for name in sys.modules if name.startswith("metrics_of_mine")]:
        del sys.modules[name]
