"""A result is served only for what it was computed from, whole, and stamped anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import autoscorer
from autoscorer import pipeline, runtime
from autoscorer.harvest import HarvestPolicy
from autoscorer.schemas.result import Result
from autoscorer.schemas.scorer import Origin
from autoscorer.scorers import cache_key
from autoscorer.scorers.base import BaseScorer
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.evaluation import evaluate
from autoscorer.scorers.host import Entry, InProcess, IsStopped, Scoring, never
from autoscorer.scorers.result_cache import ResultCache
from autoscorer.scorers.view import workspace_view
from autoscorer.utils.config import Config
from autoscorer.utils.errors import AutoscorerError
from autoscorer.workspace import Workspace
from tests.cli import call
from tests.workspaces import ROOT, MakeWorkspace


class Counting(Catalog):
    """A catalog that counts what it computes; whatever the card says, it is computed here."""

    def __init__(self, *, isolate: bool = False) -> None:
        super().__init__(isolate=isolate)
        self.computed = 0

    def score(
        self, entry: Entry, view: Path, params: Mapping[str, Any], *, is_stopped: IsStopped = never
    ) -> Scoring:
        self.computed += 1
        return InProcess().score(entry, view, params)


class Foreign(BaseScorer):
    """Somebody's scorer: it reads whatever it is shown."""

    name = "foreign"
    version = "1"

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        count = float(sum(path.is_file() for path in workspace.rglob("*")))
        return Result(
            summary={"score": count, "right": True, "note": "1.0"},
            metrics={"b": 0.1 + 0.2, "a": count},
            artifacts={"log": self._write_artifact(workspace, "log.bin", b"\0\n\xff")},
            versioning=self._versioning(cached="true", more="said by the scorer"),
        )


@dataclass
class Bench:
    """A workspace, a cache and a count of what was computed."""

    root: Path
    cache: ResultCache
    catalog: Counting = field(default_factory=Counting)
    problems: list[str] = field(default_factory=list)
    views: int = 0

    def score(self, entry: Entry, params: Mapping[str, Any] | None = None, **provenance: str) -> Result:
        self.views += 1
        workspace = Workspace.open(self.root)
        root = self.root.parent / f"view{self.views}"
        policy = HarvestPolicy(max_bytes=10**9, stage="scoring")
        view = workspace_view(workspace, self.root / "output", root, policy)
        return evaluate(self.catalog, entry, view, params or {}, provenance, cache=self.cache)

    def is_served(self, entry: Entry, params: Mapping[str, Any] | None = None) -> bool:
        before = self.catalog.computed
        result = self.score(entry, params)
        served = self.catalog.computed == before
        assert (result.versioning.get("cached") == "true") is served
        return served

    def entries(self) -> list[Path]:
        return [path for path in self.cache.folder.root.glob("*/*") if path.is_file()]


@pytest.fixture
def bench(make_workspace: MakeWorkspace, tmp_path: Path) -> Bench:
    root = make_workspace(truth="id,label\n1,cat\n2,dog\n", predictions="id,label\n1,cat\n2,cat\n")
    (root / "input" / "image.bin").write_bytes(b"pixels")
    problems: list[str] = []
    return Bench(root, ResultCache(tmp_path / "data", 2**24, problems.append), problems=problems)


@pytest.fixture
def builtin() -> Entry:
    return Counting().find("classification_f1")


@pytest.fixture
def foreign(builtin: Entry) -> Entry:
    card = builtin.card.model_copy(update={"name": "foreign", "origin": "stored", "sha256": "0" * 64})
    return replace(builtin, card=card, instance=Foreign())


def test_a_score_that_is_known_is_served_and_stamped_anew(bench: Bench, builtin: Entry) -> None:
    first = bench.score(builtin, job_id="first", attempt="7")
    second = bench.score(builtin, job_id="second")
    assert bench.catalog.computed == 1
    assert (second.summary, second.metrics) == (first.summary, first.metrics)
    assert second.versioning["score_digest"] == first.versioning["score_digest"]
    assert first.versioning.get("cached") is None
    assert second.versioning["cached"] == "true"
    assert second.versioning["job_id"] == "second"
    assert "attempt" not in second.versioning
    assert second.versioning["timestamp"] >= first.versioning["timestamp"]
    assert second.resources == {}
    changing = {"timestamp", "job_id", "attempt", "cached"}
    told = [{key: r.versioning[key] for key in r.versioning.keys() - changing} for r in (first, second)]
    assert told[0] == told[1]


def test_a_served_result_is_the_same_in_type_and_order_and_has_its_artifacts(
    bench: Bench, foreign: Entry
) -> None:
    first, second = bench.score(foreign), bench.score(foreign)
    assert bench.catalog.computed == 1
    assert json.dumps(first.summary) == json.dumps(second.summary)
    assert json.dumps(first.metrics) == json.dumps(second.metrics)
    assert first.artifacts == second.artifacts
    served = bench.root.parent / "view2" / "output" / "artifacts" / "log.bin"
    assert served.read_bytes() == b"\0\n\xff"


def test_only_the_platform_says_that_a_result_was_served(bench: Bench, foreign: Entry) -> None:
    versioning = bench.score(foreign).versioning
    assert versioning["more"] == "said by the scorer"
    assert "cached" not in versioning


def rewrite(name: str, content: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    return change


def rename(name: str, other: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / name).rename(root / other)

    return change


def touch(name: str) -> Callable[[Path], None]:
    return lambda root: os.utime(root / name, ns=(1, 1))


SEEN_BY_ALL = {
    "the truth, as many bytes": rewrite("reference/gt.csv", "id,label\n1,cat\n2,cow\n"),
    "the prediction, as many bytes": rewrite("output/pred.csv", "id,label\n1,cat\n2,dog\n"),
    "another file beside the truth": rewrite("reference/more.csv", ""),
    "another file delivered": rewrite("output/notes.txt", "hello"),
    "a folder delivered": lambda root: (root / "output" / "empty").mkdir(),
    "a truth in input/": rewrite("input/gt.csv", "id,label\n1,cat\n2,dog\n"),
}
SEEN_BY_FOREIGN = {
    "meta.json": rewrite("meta.json", "{}"),
    "a file in input/": rewrite("input/image.bin", "pixel2"),
    "the time of a file in input/": touch("input/image.bin"),
    "the name of a file in input/": rename("input/image.bin", "input/image2.bin"),
}


@pytest.mark.parametrize("name", SEEN_BY_ALL)
@pytest.mark.parametrize("is_foreign", [False, True])
def test_whatever_every_scorer_is_shown_counts(
    bench: Bench, builtin: Entry, foreign: Entry, name: str, is_foreign: bool
) -> None:
    entry = foreign if is_foreign else builtin
    assert not bench.is_served(entry)
    assert bench.is_served(entry)  # the control: unchanged, it is served
    SEEN_BY_ALL[name](bench.root)
    assert not bench.is_served(entry)
    assert bench.is_served(entry)


@pytest.mark.parametrize("name", SEEN_BY_FOREIGN)
def test_all_that_a_foreign_scorer_may_read_counts_for_it_alone(
    bench: Bench, builtin: Entry, foreign: Entry, name: str
) -> None:
    for entry in (builtin, foreign):
        bench.score(entry)
        assert bench.is_served(entry)
    SEEN_BY_FOREIGN[name](bench.root)
    assert bench.is_served(builtin)
    assert not bench.is_served(foreign)


def test_the_truth_under_another_name_is_another_truth(bench: Bench, foreign: Entry) -> None:
    bench.score(foreign)
    rename("reference/gt.csv", "reference/gt.txt")(bench.root)
    assert not bench.is_served(foreign)


def test_without_reference_the_truth_in_input_counts(bench: Bench, builtin: Entry) -> None:
    rename("reference/gt.csv", "input/gt.csv")(bench.root)
    assert [bench.is_served(builtin) for _ in range(2)] == [False, True]
    rewrite("input/gt.csv", "id,label\n1,cat\n2,cow\n")(bench.root)
    assert [bench.is_served(builtin) for _ in range(2)] == [False, True]


@pytest.mark.parametrize("params", [{"a": 1.0}, {"a": True}, {"a": "1"}, {"a": [1]}, {"b": 1}, {}])
def test_parameters_count_with_their_types(bench: Bench, foreign: Entry, params: dict[str, Any]) -> None:
    bench.score(foreign, {"a": 1})
    assert bench.is_served(foreign, {"a": 1})
    assert not bench.is_served(foreign, params)
    assert bench.is_served(foreign, params)


@pytest.mark.parametrize("params", [{"a": (1, 2)}, {"a": {1: 2}}, {"a": Path("x")}, {"a": float("nan")}])
def test_parameters_that_json_does_not_tell_apart_are_not_asked_for(
    bench: Bench, foreign: Entry, params: dict[str, Any]
) -> None:
    card = foreign.card
    root = bench.root.parent / "view"
    view = workspace_view(
        Workspace.open(bench.root), bench.root / "output", root, HarvestPolicy(max_bytes=10**9)
    )
    assert bench.cache.ask(card, view, params, apart=False) is None
    assert bench.cache.ask(card, view, {"a": [1, 2]}, apart=False) is not None


@pytest.mark.parametrize("change", [{"sha256": "1" * 64}, {"name": "other"}])
def test_what_one_scorer_computed_is_never_served_for_another(
    bench: Bench, foreign: Entry, change: dict[str, str]
) -> None:
    bench.score(foreign)
    other = replace(foreign, card=foreign.card.model_copy(update=change))
    assert not bench.is_served(other)
    assert bench.is_served(other)
    assert bench.is_served(foreign)


@pytest.mark.parametrize(("origin", "is_kept"), [("process", False), ("stored", True), ("entry_point", True)])
def test_a_scorer_of_the_calling_program_is_never_cached(
    bench: Bench, foreign: Entry, origin: Origin, is_kept: bool
) -> None:
    entry = replace(foreign, card=foreign.card.model_copy(update={"origin": origin}))
    bench.score(entry)
    assert bench.is_served(entry) is is_kept
    assert bool(bench.entries()) is is_kept


def test_who_wants_a_process_apart_is_not_served_what_was_computed_here(bench: Bench, builtin: Entry) -> None:
    bench.score(builtin)
    bench.catalog = Counting(isolate=True)
    assert [bench.is_served(builtin) for _ in range(2)] == [False, True]


def test_another_installation_computes_anew(
    bench: Bench, builtin: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.score(builtin)
    monkeypatch.setattr(cache_key, "installation", lambda: "another")
    assert not bench.is_served(builtin)


def test_errors_are_never_kept(bench: Bench, builtin: Entry) -> None:
    rewrite("output/pred.csv", "id,label\n1,cat\n")(bench.root)
    for _ in range(2):
        with pytest.raises(AutoscorerError, match="1 id is missing"):
            bench.score(builtin)
    assert bench.catalog.computed == 2
    assert not bench.entries()


class Scribbler(Foreign):
    """It changes what it is scored against, while it scores."""

    changed: Path

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        result = super().score(workspace, params)
        content = self.changed.read_bytes()
        self.changed.write_bytes(b"x")
        self.changed.write_bytes(content)
        return result


@pytest.mark.parametrize("name", ["reference/gt.csv", "input/image.bin"])
def test_a_result_is_not_kept_when_its_data_changed_meanwhile(
    bench: Bench, foreign: Entry, name: str
) -> None:
    scribbler = Scribbler()
    scribbler.changed = bench.root / name
    bench.score(replace(foreign, instance=scribbler))
    assert not bench.entries()
    bench.score(foreign)  # the control: nothing was changed
    assert bench.entries()


def test_a_tree_with_links_to_folders_is_not_cached_for_who_may_follow_them(
    bench: Bench, foreign: Entry
) -> None:
    (bench.root / "input" / "more").symlink_to(bench.root / "reference")
    bench.score(foreign)
    assert not bench.is_served(foreign)


@pytest.mark.parametrize(
    ("spoil", "is_kept"),
    [
        (lambda path: path.write_bytes(b"other than the result says"), True),
        (lambda path: path.unlink(), False),
        (lambda path: path.rename(path.with_name("moved")) and path.symlink_to("moved"), False),
        (lambda path: path.write_bytes(b"x" * 2**22), False),
    ],
)
def test_an_artifact_is_kept_as_it_is_and_not_at_all_where_it_is_no_file(
    bench: Bench, foreign: Entry, spoil: Callable[[Path], object], is_kept: bool
) -> None:
    class Wrong(Foreign):
        def score(self, workspace: Path, params: dict[str, Any]) -> Result:
            result = super().score(workspace, params)
            spoil(workspace / "output" / "artifacts" / "log.bin")
            return result

    entry = replace(foreign, instance=Wrong())
    bench.score(entry)
    assert bench.is_served(entry) is is_kept
    if is_kept:
        views = [
            bench.root.parent / f"view{number}" / "output" / "artifacts" / "log.bin" for number in (1, 2)
        ]
        assert views[0].read_bytes() == views[1].read_bytes()


@pytest.mark.parametrize("kept", [0, 1, 64, 65, 100, -1])
def test_a_truncated_entry_is_computed_again(bench: Bench, foreign: Entry, kept: int) -> None:
    first = bench.score(foreign)
    (path,) = bench.entries()
    path.write_bytes(path.read_bytes()[:kept])
    assert not bench.is_served(foreign)
    assert bench.is_served(foreign)
    assert bench.score(foreign).metrics == first.metrics
    assert not bench.problems


def test_a_folder_that_others_may_write_is_told_once_and_not_used(bench: Bench, builtin: Entry) -> None:
    bench.score(builtin)
    bench.cache.folder.root.chmod(0o777)
    assert not bench.is_served(builtin)
    assert not bench.is_served(builtin)
    assert len(bench.problems) == 1
    assert "DATA_DIR/cache/results has the mode 0777" in bench.problems[0]


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    catalog = Counting()
    monkeypatch.setattr(runtime, "open_catalog", lambda _settings=None: catalog)
    yield catalog


def test_from_python_a_known_score_is_served_unless_it_is_not_wanted(
    make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_workspace(predictions="id,label\n1,cat\n2,cat\n")
    with counted(monkeypatch) as catalog:
        for expected, use in ((1, True), (1, True), (2, False), (2, True)):
            autoscorer.score(root, cache=use)
            assert catalog.computed == expected


def test_files_need_no_workspace_to_be_known_by_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        (tmp_path / name).write_text("id,label\n1,cat\n2,dog\n")
    (tmp_path / "c.csv").write_text("id,label\n1,cat\n2,cat\n")
    with counted(monkeypatch) as catalog:
        for expected, one, other in (
            (1, "a", "b"),
            (1, "b", "a"),
            (1, "a", "a"),
            (2, "a", "c"),
            (3, "c", "a"),
        ):
            autoscorer.score(
                reference=tmp_path / f"{one}.csv",
                predictions=tmp_path / f"{other}.csv",
                scorer="classification_f1",
            )
            assert catalog.computed == expected


def test_a_bound_of_zero_turns_it_off(make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_workspace(predictions="id,label\n1,cat\n2,cat\n")
    monkeypatch.setenv("CACHE_MAX_BYTES", "0")
    with counted(monkeypatch) as catalog:
        results = [autoscorer.score(root) for _ in range(2)]
        assert catalog.computed == 2
    assert not any("cached" in result.versioning for result in results)
    assert not Config().settings.data_dir.joinpath("cache").exists()


@pytest.mark.slow
def test_the_command_serves_across_processes_and_artifacts_are_published(tmp_path: Path) -> None:
    rows = "".join(f"{number},label{number}\n" for number in range(1_001))
    (tmp_path / "gt.csv").write_text("id,label\n" + rows)
    files = ("--reference", tmp_path / "gt.csv", "--predictions", tmp_path / "gt.csv")
    arguments = ("score", *files, "--scorer", "classification_f1", "--output")
    first, second, third = (
        call(*arguments, tmp_path / name, *more).answer["data"]["result"]
        for name, more in (("one", ()), ("two", ()), ("three", ("--no-cache",)))
    )
    assert [result["versioning"].get("cached") for result in (first, second, third)] == [None, "true", None]
    assert first["artifacts"] == second["artifacts"] != {}
    for name in ("one", "two"):
        assert (tmp_path / name / "artifacts" / "per_label.csv").read_text().count("\n") == 1_002


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_a_warning(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    root = make_workspace(predictions="id,label\n1,cat\n2,cat\n")
    (tmp_path / "file").write_text("")
    called = call("score", root, env={"DATA_DIR": str(tmp_path / "file" / "data")})
    assert called.exit_code == 0
    (warning,) = called.answer["meta"]["warnings"]
    assert warning["code"] == "CACHE_UNUSABLE"
    assert "results are not cached" in warning["message"]
    assert str(tmp_path) not in warning["message"]


def test_a_job_is_served_under_its_own_id(make_workspace: MakeWorkspace) -> None:
    roots = [make_workspace(predictions="id,label\n1,cat\n2,cat\n") for _ in range(2)]
    results = [autoscorer.score(root) for root in roots]
    assert results[1].versioning["cached"] == "true"
    assert [result.versioning["job_id"] for result in results] == ["job-1", "job-2"]
    written = json.loads((roots[1] / "output" / "result.json").read_text())
    assert written["versioning"]["job_id"] == "job-2"


WAS_POLARS_LOADED = """
import sys
import autoscorer
autoscorer.score(reference=sys.argv[1], predictions=sys.argv[1], scorer=sys.argv[2])
print("polars" in sys.modules)
"""


def is_polars_loaded(truth: Path, scorer: str) -> bool:
    arguments = [sys.executable, "-c", WAS_POLARS_LOADED, str(truth), scorer]
    printed = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    return {"True\n": True, "False\n": False}[printed]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classification", "classification-acc", "regression", "test"])
def test_small_tables_are_scored_without_loading_polars(name: str) -> None:
    root = ROOT / "examples" / name
    scorer = json.loads((root / "meta.json").read_text())["scorer"]
    assert not is_polars_loaded(root / "reference" / "gt.csv", scorer)


@pytest.mark.slow
def test_large_tables_are_scored_with_polars(tmp_path: Path) -> None:
    truth = tmp_path / "gt.csv"
    truth.write_text("id,label\n" + "".join(f"{number},cat\n" for number in range(200_000)))
    assert is_polars_loaded(truth, "classification_f1")


def test_a_job_without_a_cache_is_always_computed(make_workspace: MakeWorkspace) -> None:
    root = make_workspace(predictions="id,label\n1,cat\n2,cat\n")
    with Counting() as catalog:
        context = runtime.job_context(Config().settings, catalog)
        for _ in range(2):
            pipeline.score(context, root)
        assert catalog.computed == 2
