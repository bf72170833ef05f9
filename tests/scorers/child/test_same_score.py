"""A score is the same wherever it was computed: here or apart, cold or warm, a workspace or two files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscorer import facade, pipeline, runtime
from autoscorer.schemas.result import Result
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.child.host import ChildHost
from autoscorer.scorers.registry import load_builtin
from tests.scorers.child import odd
from tests.workspaces import ROOT

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them

EXAMPLES = [
    spec.parent
    for spec in sorted((ROOT / "examples").glob("*/meta.json"))
    if load_builtin().lookup(json.loads(spec.read_text())["scorer"]) is not None
]


@pytest.fixture(scope="module", params=[False, True], ids=["cold", "warm"])
def catalog(request: pytest.FixtureRequest) -> Iterator[Catalog]:
    settings = odd.settings(scorer_memory_bytes=2**30, scorer_time_limit_s=60)
    with Catalog(lambda: ChildHost(settings, warm=request.param), isolate=True) as catalog:
        yield catalog


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda path: str(path.name))
def delivered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An example's workspace with the output of its own program."""
    workspace: Path = tmp_path_factory.mktemp("example") / request.param.name
    shutil.copytree(request.param, workspace)
    facade.run(workspace, backend="local", config=odd.config())
    return workspace


def score(workspace: Path, catalog: Catalog) -> Result:
    return pipeline.score(runtime.job_context(odd.config().settings, catalog), workspace).result


@pytest.mark.slow
@pytest.mark.sandbox
def test_an_example_has_the_same_digest_here_and_apart(delivered: Path, catalog: Catalog) -> None:
    here, apart = score(delivered, Catalog()), score(delivered, catalog)
    assert apart.versioning["score_digest"] == here.versioning["score_digest"]
    assert (apart.summary, apart.metrics, apart.versioning["params"]) == (
        here.summary,
        here.metrics,
        here.versioning["params"],
    )
    assert {name: file.sha256 for name, file in apart.artifacts.items()} == {
        name: file.sha256 for name, file in here.artifacts.items()
    }
    assert json.loads(apart.versioning["scorer_isolation"])["mode"] == "child"
    assert json.loads(here.versioning["scorer_isolation"])["mode"] == "in_process"


def files(folder: Path) -> tuple[Path, Path]:
    reference, predictions = folder / "truth.csv", folder / "mine.csv"
    reference.write_text("id,label\n1,cat\n2,dog\n")
    predictions.write_text("id,label\n1,cat\n2,cat\n")
    return reference, predictions


def test_two_files_are_scored_apart_as_here(catalog: Catalog, tmp_path: Path) -> None:
    reference, predictions = files(tmp_path)
    found = [
        facade.score_files(each, reference, predictions, "classification_f1") for each in (Catalog(), catalog)
    ]
    assert found[0].versioning["score_digest"] == found[1].versioning["score_digest"]


def test_a_file_that_was_renamed_meanwhile_is_still_the_one_that_is_scored(
    catalog: Catalog, tmp_path: Path
) -> None:
    from autoscorer.scorers.view import files_view

    reference, predictions = files(tmp_path)
    entry = catalog.find("classification_accuracy")
    root = tmp_path / "view"
    root.mkdir()
    with files_view(entry.card, reference, predictions, root) as view:
        predictions.rename(tmp_path / "elsewhere.csv")
        predictions.write_text("id,label\n1,dog\n2,cat\n")  # all wrong, under the old name
        assert catalog.score(entry, view.root, {}).result.metrics["accuracy"] == 0.5
