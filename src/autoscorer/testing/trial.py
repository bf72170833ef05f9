"""A scorer under test: where it computes, the data it is tried on, and what it answered so far."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from autoscorer.schemas.result import Result
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.host import Entry, ScorerHost
from autoscorer.testing.case import Case
from autoscorer.testing.forms import Form
from autoscorer.utils.errors import AutoscorerError

Answer = Result | AutoscorerError
Tree = Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """One scoring: what came of it, and the files of its folder before and after, by SHA-256."""

    answer: Answer
    before: Tree
    after: Tree


@dataclass
class Trial:
    """What every contract works on: the scorer, its host, and the data with what can be done to them.

    ``other_host`` opens a host whose processes are not those of ``host``;
    ``remembered`` are answers that were dear."""

    entry: Entry
    host: ScorerHost
    form: Form
    other_host: Callable[[], AbstractContextManager[ScorerHost]] | None = None
    remembered: dict[object, Answer] = field(default_factory=dict)
    _runs: dict[object, Run] = field(default_factory=dict)

    @property
    def card(self) -> ScorerCard:
        return self.entry.card

    @property
    def case(self) -> Case:
        """The data as they are; of much data a part."""
        return self.form.case

    def answer(self, case: Case) -> Answer:
        """The scorer's answer to ``case``; asked once, then remembered."""
        return self.run(case).answer

    def run(self, case: Case) -> Run:
        """As `answer`, with what happened to the files."""
        if case.key not in self._runs:
            self._runs[case.key] = run_afresh(self.host, self.entry, case)
        return self._runs[case.key]

    def headline(self, result: Result) -> float | None:
        """The primary metric, else the score of the summary."""
        if self.card.primary_metric is not None:
            return result.metrics.get(self.card.primary_metric)
        score = result.summary.get("score")
        return float(score) if isinstance(score, float) else None


def run_afresh(host: ScorerHost, entry: Entry, case: Case) -> Run:
    """Score ``case`` in a new folder, removed afterwards; an error is an answer too."""
    with tempfile.TemporaryDirectory(prefix="autoscorer-") as folder:
        root = case.write(Path(folder) / "view")
        before = tree(root)
        answer: Answer
        try:
            answer = host.score(entry, root, case.params).result
        except AutoscorerError as exc:
            answer = exc
        return Run(answer, before, tree(root))


def tree(root: Path) -> dict[str, str]:
    """Every entry below ``root`` by relative name: the SHA-256 of a file, what else it is otherwise."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            told = f"link to {path.readlink()}"
        else:
            told = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[path.relative_to(root).as_posix()] = told
    return found
