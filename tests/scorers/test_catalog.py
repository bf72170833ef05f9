"""Whose scorer a name means: the caller's, a loaded one, a built-in one, a package's; a hash decides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

import autoscorer
from autoscorer.scorers import catalog as catalog_module
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.library import Library
from autoscorer.scorers.library.opening import names_elsewhere
from autoscorer.scorers.registry import load_builtin, registry
from autoscorer.utils.errors import AutoscorerError
from tests.scorers.library.sources import check_here, scorer_text, write
from tests.workspaces import MakeWorkspace

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "data", check_here, reserved=names_elsewhere)


@pytest.fixture
def catalog(library: Library) -> Iterator[Catalog]:
    with Catalog(library=lambda: library) as catalog:
        yield catalog


def origins(catalog: Catalog) -> dict[str, str]:
    return {entry.card.name: entry.card.origin for entry in catalog.entries()}


def test_a_loaded_scorer_stands_beside_the_built_in_ones(
    catalog: Catalog, library: Library, tmp_path: Path
) -> None:
    library.load(write(tmp_path / "mine.py", scorer_text()))
    assert catalog.find("mine").card.origin == "stored"
    assert origins(catalog) == {**dict.fromkeys(load_builtin().names(), "builtin"), "mine": "stored"}


def test_a_built_in_name_that_was_taken_means_the_loaded_one_and_its_hash_the_built_in_one(
    catalog: Catalog, library: Library, tmp_path: Path
) -> None:
    built_in = catalog.find("classification_f1").card
    library.load(write(tmp_path / "mine.py", scorer_text("classification_f1")), replace=True)
    assert catalog.find("classification_f1").card.origin == "stored"
    assert catalog.find(built_in.pin).card == built_in
    assert origins(catalog)["classification_f1"] == "stored"
    library.unload("classification_f1")
    assert catalog.find("classification_f1").card == built_in


def test_the_callers_own_scorer_comes_first(catalog: Catalog, library: Library, tmp_path: Path) -> None:
    stored = library.load(write(tmp_path / "mine.py", scorer_text())).cards[0]
    load_builtin()  # first: what is loaded while the patch holds would go with it
    with patch.dict(registry._scorers):

        @autoscorer.register("mine")
        class Mine(autoscorer.BaseScorer):
            name = "mine"
            version = "own"

            def score(self, workspace: Path, params: dict[str, object]) -> autoscorer.Result:
                raise NotImplementedError

        assert catalog.find("mine").card.version == "own"
        assert origins(catalog)["mine"] == "process"
        assert catalog.find(stored.pin).card == stored
        assert autoscorer.get_scorer("mine").version == "own"


def test_a_version_that_is_not_kept_is_named(catalog: Catalog, library: Library, tmp_path: Path) -> None:
    library.load(write(tmp_path / "mine.py", scorer_text()))
    with pytest.raises(AutoscorerError, match="`autoscorer scorers versions mine` lists"):
        catalog.find(f"mine@{'0' * 64}")
    with pytest.raises(AutoscorerError, match="Did you mean 'mine'"):
        catalog.find("mime")


def test_in_a_store_that_cannot_be_read_a_name_means_nothing_and_a_hash_still_does(
    catalog: Catalog, library: Library, tmp_path: Path
) -> None:
    """The loaded scorer took the name; a quiet fall back to the built-in one would score by other rules."""
    built_in = catalog.find("classification_f1").card
    library.load(write(tmp_path / "mine.py", scorer_text("classification_f1")), replace=True)
    write(tmp_path / "data/scorers/index.json", "no JSON")
    for name in ("classification_f1", "mine"):
        with pytest.raises(AutoscorerError, match="remove it and load the scorers again") as caught:
            catalog.find(name)
        assert caught.value.code == "RESOURCE_UNAVAILABLE"
    assert catalog.find(built_in.pin).card == built_in


def test_an_own_scorer_that_names_files_outside_its_folder_is_unloadable(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(load_builtin().get("classification_f1")), "reference_files", ("../gt.csv",))
    catalog_module._builtin_entry.cache_clear()  # ours never change but here; a refusal is not kept
    with pytest.raises(AutoscorerError, match="declares what cannot be right: reference_files") as caught:
        catalog.find("classification_f1")
    assert (caught.value.code, caught.value.cause) == ("SCORER_NOT_FOUND", "unloadable")


def test_a_loaded_file_scores_with_its_own_hash(tmp_path: Path, make_workspace: MakeWorkspace) -> None:
    """The public way: loaded by one call, scored by another, in a process apart."""
    path = write(tmp_path / "mine.py", scorer_text(value=0.25))
    (card,) = autoscorer.registry.load_from_file(path)
    workspace = make_workspace(predictions="id,label\n1,cat\n2,dog\n", spec={"scorer": card.pin})
    result = autoscorer.score(workspace)
    assert result.summary == {"score": 0.25}
    assert result.versioning["scorer_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(result.versioning["scorer_isolation"])["mode"] == "child"
    scorer = autoscorer.get_scorer("mine")
    write(path, scorer_text(version="2", value=0.75))
    autoscorer.registry.load_from_file(path)
    assert scorer.score(workspace, {}).summary == {"score": 0.25}  # what was found is what scores
    assert autoscorer.get_scorer("mine").score(workspace, {}).summary == {"score": 0.75}
    assert autoscorer.score(workspace).summary == {"score": 0.25}  # the job has pinned its scorer
    assert autoscorer.score(workspace, scorer="mine").summary == {"score": 0.75}


def test_a_watched_file_is_known_to_this_installation(tmp_path: Path) -> None:
    import queue

    events: queue.Queue[str] = queue.Queue()
    path = write(tmp_path / "mine.py", scorer_text())
    with autoscorer.registry.start_watching(path, lambda event: events.put(event.text)):
        assert events.get(timeout=60).startswith("mine.py: loaded mine 1 (")
    assert autoscorer.get_scorer("mine").version == "1"
