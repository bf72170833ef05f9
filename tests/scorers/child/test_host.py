"""A scorer in a process apart scores as it does here, and describes itself from there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import autoscorer
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.child.host import ChildHost
from autoscorer.scorers.host import Code, Entry
from autoscorer.utils.errors import AutoscorerError
from tests.cli import environment
from tests.scorers.child import odd
from tests.workspaces import ROOT

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them

SHA256 = "a" * 64
EXAMPLE = """
@register("exact")
class Exact(BaseScorer):
    name = "exact"
    version = "1"
    example = Example(reference={"gt.csv": "id,label\\n1,a\\n"}, metrics={"m": VALUE},
                      predictions={"pred.csv": "id,label\\n1,a\\n"})
    def score(self, workspace, params):
        same = (workspace / "reference/gt.csv").read_text() == (workspace / "output/pred.csv").read_text()
        return Result(summary={}, metrics={"m": float(same)},
                      versioning={"scorer": "exact", "version": "1", "timestamp": "2026-01-01T00:00:00Z"})
"""
IMPORTS = (
    "from autoscorer.schemas.result import Result\nfrom autoscorer.schemas.scorer import Example\n"
    "from autoscorer.scorers.base import BaseScorer\nfrom autoscorer.scorers.registry import register\n"
)


def unloadable(host: ChildHost, path: Path) -> AutoscorerError:
    with pytest.raises(AutoscorerError) as caught:
        host.describe(Code(path=path), SHA256)
    assert (caught.value.code, caught.value.cause, caught.value.blame) == (
        "SCORER_NOT_FOUND",
        "unloadable",
        "organiser",
    )
    return caught.value


def test_a_scorer_apart_gives_what_it_gives_here(host: ChildHost, tmp_path: Path) -> None:
    view = odd.view(tmp_path)
    here = Catalog()
    entry = here.find("classification_f1")
    apart = host.score(entry, view, {})
    assert apart.result.metrics == here.score(entry, view, {}).result.metrics
    assert apart.isolation["mode"] == "child"
    assert apart.resources["scorer_peak_memory_bytes"] > 0
    assert apart.resources["scorer_cpu_seconds"] > 0


def test_the_catalogue_scores_apart_what_is_not_loaded_here(host: ChildHost, tmp_path: Path) -> None:
    entry = odd.entry_of(odd.scorer_file(tmp_path / "code", "return good(m=0.5)"))
    scoring = Catalog(lambda: host).score(entry, odd.view(tmp_path), {})
    assert scoring.result.metrics == {"m": 0.5}
    assert scoring.isolation["mode"] == "child"


def test_parameters_are_checked_apart(host: ChildHost) -> None:
    entry = Catalog().find("detection_map")
    complete = host.check_params(entry, {})
    assert complete == Catalog().check_params(entry, {})
    with pytest.raises(AutoscorerError) as caught:
        host.check_params(entry, {"nonsense": 1})
    assert (caught.value.code, caught.value.blame) == ("CONFIG_VALIDATION_ERROR", "organiser")


def test_parameters_that_were_accepted_take_no_second_process(
    host: ChildHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ask = list[Any](), host._ask

    def noted(request: dict[str, Any], *rest: Any, **more: Any) -> Any:
        asked.append(request["params"])
        return ask(request, *rest, **more)

    monkeypatch.setattr(host, "_ask", noted)
    entry, other = (renamed("detection_map", letter * 64) for letter in "ef")
    first, again = host.check_params(entry, {}), host.check_params(entry, {})
    first["spoilt"] = True  # by whoever asked first
    assert again == host.check_params(entry, {}) == Catalog().check_params(entry, {})
    assert asked == [{}]
    for _ in range(2):
        with pytest.raises(AutoscorerError):
            host.check_params(entry, {"nonsense": 1})
    assert asked == [{}, {"nonsense": 1}, {"nonsense": 1}]
    host.check_params(other, {})
    assert asked[3:] == [{}]


def test_a_check_of_parameters_can_be_stopped(host: ChildHost, tmp_path: Path) -> None:
    path = tmp_path / "slow.py"
    path.write_text("import time; time.sleep(600)\n")
    asked, entry = list[float](), odd.entry_of(path, params_schema={})

    def stop() -> bool:
        asked.append(time.monotonic())
        return asked[-1] > asked[0] + 0.5

    with pytest.raises(AutoscorerError) as caught:
        host.check_params(entry, {}, is_stopped=stop)
    assert caught.value.code == "CANCELLED"  # and not its time limit
    # Whoever takes jobs in asks for it here, where it is not loaded, and waits for nobody.
    Catalog(lambda: host).check_params_here(entry, {"nonsense": 1})


def test_parameters_of_what_is_loaded_here_are_checked_here() -> None:
    with Catalog() as catalog, pytest.raises(AutoscorerError, match="nonsense"):
        catalog.check_params_here(catalog.find("detection_map"), {"nonsense": 1})


def renamed(name: str, sha256: str) -> Entry:
    """The scorer as if it had other content."""
    entry = Catalog().find(name)
    return replace(entry, card=entry.card.model_copy(update={"sha256": sha256}))


def test_a_file_describes_its_scorers(host: ChildHost) -> None:
    (card,) = host.describe(Code(path=ROOT / "custom_scorers" / "classification_f2.py"), SHA256)
    assert (card.name, card.version, card.sha256, card.origin) == (
        "classification_f2",
        "1.0.0",
        SHA256,
        "stored",
    )


def test_a_file_that_is_no_python_is_named_with_its_line(host: ChildHost, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("x = 1\ndef f(:\n")
    details = unloadable(host, path).details
    assert (details["file"], details["line"]) == ("broken.py", 2)


def test_an_example_that_gives_what_it_says_loads(host: ChildHost, tmp_path: Path) -> None:
    path = tmp_path / "exact.py"
    path.write_text(IMPORTS + EXAMPLE.replace("VALUE", "1.0"))
    assert [card.name for card in host.describe(Code(path=path), SHA256)] == ["exact"]


def test_an_example_that_does_not_is_told_with_the_difference(host: ChildHost, tmp_path: Path) -> None:
    path = tmp_path / "exact.py"
    path.write_text(IMPORTS + EXAMPLE.replace("VALUE", "0.5"))
    assert "0.5" in unloadable(host, path).details["example"]["differences"][0]


@pytest.mark.parametrize("line", ["import os; os._exit(0)", "import os; os.abort()", "raise SystemExit"])
def test_code_that_ends_the_process_when_imported_cannot_be_loaded(
    host: ChildHost, tmp_path: Path, line: str
) -> None:
    path = tmp_path / "ending.py"
    path.write_text(line + "\n")
    unloadable(host, path)


def test_a_tree_too_deep_for_recursion_is_cleaned_up(host: ChildHost, tmp_path: Path) -> None:
    """`shutil.rmtree` recurses before Python 3.13: it left the folder, and blamed the platform."""
    path = tmp_path / "deep.py"
    path.write_text(
        "import os\nos.chdir('output/artifacts')\n"
        "for _ in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\n"
    )
    unloadable(host, path)
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


BESIDE = """
import sys
from pathlib import Path
sys.path.insert(1, sys.argv[2])
from autoscorer.scorers.child.host import ChildHost
from tests.scorers.child import odd
host = ChildHost(odd.settings())
body = "import autoscorer\\nreturn good(beside=float('/beside/' in autoscorer.__file__))"
print(odd.score(host, Path(sys.argv[1]), body).result.metrics["beside"])
host.close()
"""


def test_a_scorers_process_imports_the_autoscorer_of_its_parent(tmp_path: Path) -> None:
    """Started by PYTHONPATH beside an installation, the parent is another one than the installed."""
    beside = tmp_path / "beside"
    shutil.copytree(Path(autoscorer.__file__).parent, beside / "autoscorer")
    command: list[str | Path] = [sys.executable, "-c", BESIDE, tmp_path, ROOT]
    env = {**environment(), "PYTHONPATH": str(beside)}
    assert subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout == "1.0\n"
    installed = [sys.executable, "-I", "-c", "import autoscorer; print(autoscorer.__file__)"]
    told = subprocess.run(installed, env=env, check=True, capture_output=True, text=True).stdout
    assert "/beside/" not in told  # the control: what the search path of the zygote finds
