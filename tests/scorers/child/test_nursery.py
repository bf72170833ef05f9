"""Which zygote a score is born of: our own scorers on small files need not carry what large tables need."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscorer.confine import namespaces
from autoscorer.reading import align, coco_fast
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.child import walls
from autoscorer.scorers.child.host import SMALL_FILE_BYTES, ChildHost
from autoscorer.scorers.child.nursery import FOR_LARGE_TABLES, Warmth, modules_for
from autoscorer.scorers.child.views import MANY, has_small_files_only
from autoscorer.scorers.registry import load_builtin
from tests.cli import environment
from tests.scorers.child import odd

ALL_EXAMPLES = """
import importlib, json, sys, tempfile
from pathlib import Path
from autoscorer.scorers.child.nursery import Warmth, modules_for
for module in modules_for(Warmth[sys.argv[1]]): importlib.import_module(module)
before = set(sys.modules)
from autoscorer.scorers.examples import differences, lay_out
from autoscorer.scorers.invoke import check_params, invoke
from autoscorer.scorers.registry import load_builtin
told = {}
for name in load_builtin().names():
    scorer = load_builtin().get(name)
    params = check_params(scorer, dict(scorer.example.params))
    with tempfile.TemporaryDirectory() as folder:
        workspace = lay_out(scorer.example, Path(folder) / "workspace")
        told[name] = differences(scorer.example, invoke(scorer, workspace, params))
print(json.dumps([told, "polars" in before, "polars" in sys.modules]))
"""


@pytest.fixture
def warm() -> Iterator[ChildHost]:
    host = ChildHost(odd.settings(), warm=True)
    yield host
    host.close()


def used(host: ChildHost) -> list[str]:
    """The zygotes that were started."""
    nurseries = {"light": host._light_nursery, "full": host._nursery}
    return [name for name, nursery in nurseries.items() if nursery.pid is not None]


def large(folder: Path) -> Path:
    """A view with a prediction file that is not small."""
    root = odd.view(folder)
    rows = "".join(f"{number},cat\n" for number in range(SMALL_FILE_BYTES // 6))
    for path in (root / "reference" / "gt.csv", root / "output" / "pred.csv"):
        path.write_text(f"id,label\n{rows}")
    (root / "reference").rename(folder / "truth")  # as the platform shows a workspace's
    (root / "reference").symlink_to(folder / "truth")
    return root


@pytest.mark.slow
def test_our_own_scorers_on_small_files_have_a_lighter_zygote(warm: ChildHost, tmp_path: Path) -> None:
    accuracy = Catalog().find("classification_accuracy")
    assert warm.score(accuracy, odd.view(tmp_path / "small"), {}).result.metrics["accuracy"] == 0.5
    assert used(warm) == ["light"]
    assert warm.score(accuracy, large(tmp_path / "large"), {}).result.metrics["accuracy"] == 1.0
    assert used(warm) == ["light", "full"]


@pytest.mark.slow
def test_foreign_code_finds_everything_imported(warm: ChildHost, tmp_path: Path) -> None:
    body = "return good(polars=float('polars' in sys.modules))"
    assert odd.score(warm, tmp_path, body).result.metrics == {"polars": 1.0}
    assert used(warm) == ["full"]


@pytest.mark.slow
@pytest.mark.parametrize("warmth", [Warmth.LIGHT, Warmth.FULL])
def test_no_scorer_of_ours_imports_for_small_files_what_the_lighter_zygote_has_not(warmth: Warmth) -> None:
    """The full one is the control: there it is imported."""
    command = [sys.executable, "-c", ALL_EXAMPLES, warmth.name]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    told, before, after = json.loads(done.stdout)
    assert told == {name: [] for name in load_builtin().names()}
    assert before is after is (warmth is Warmth.FULL)


@pytest.mark.slow
def test_no_two_scores_have_the_same_random_numbers(warm: ChildHost, tmp_path: Path) -> None:
    body = "import random\nreturn good(m=random.random())"
    assert len({odd.score(warm, tmp_path, body).result.metrics["m"] for _ in range(3)}) == 3


@pytest.mark.parametrize("refused", [namespaces.IPC, namespaces.CGROUPS])
def test_a_namespace_that_is_refused_costs_no_other(monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
    entered: list[int] = []

    def unshare(kind: int) -> None:
        if kind & refused:
            raise PermissionError(1, "Operation not permitted")
        entered.append(kind)

    monkeypatch.setattr(namespaces, "unshare", unshare)
    raised = namespaces.enter(walls.KINDS)
    assert [name for name, why in raised.items() if why is None] == [
        name for name, kind in walls.KINDS.items() if kind != refused
    ]
    assert entered == [kind for kind in walls.KINDS.values() if kind != refused]


def test_what_is_small_to_the_zygotes_is_small_to_the_readers() -> None:
    """Else polars would be imported for each such score."""
    assert min(align.FAST_READER_BYTES, coco_fast.FAST_READER_BYTES) >= SMALL_FILE_BYTES


def test_what_is_left_out_would_be_imported_otherwise() -> None:
    assert set(FOR_LARGE_TABLES) <= set(modules_for(Warmth.FULL))


@pytest.mark.parametrize(
    ("size", "files", "is_small"),
    [(9, 1, True), (10, 1, False), (9, MANY - 1, True), (9, MANY, False)],
)
def test_a_view_is_small_that_has_few_small_files(
    tmp_path: Path, size: int, files: int, *, is_small: bool
) -> None:
    below = tmp_path / "view" / "output"
    below.mkdir(parents=True)
    for number in range(files):
        (below / f"{number}").write_bytes(b"x" * size)
    assert has_small_files_only(tmp_path / "view", 10) is is_small


@pytest.mark.parametrize("to", [".", "nowhere"])
def test_a_link_in_a_view_leads_to_no_endless_search(tmp_path: Path, to: str) -> None:
    (tmp_path / "loop").symlink_to(to)
    assert has_small_files_only(tmp_path, 10) is False
