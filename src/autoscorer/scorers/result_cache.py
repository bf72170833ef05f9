"""Results that need not be computed again: kept with their artifacts, found by all that determines them.

Only the platform writes here, after a result was checked, and never an error. An entry carries its scorer's
content in its key, so that what one scorer computed is served for that very scorer only.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from autoscorer.schemas.envelope import iso_now
from autoscorer.schemas.result import Artifact, Result
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.cache_folder import CacheFolder
from autoscorer.scorers.cache_key import Question, look, make_question
from autoscorer.scorers.handover import FOLDER
from autoscorer.scorers.host import Scoring
from autoscorer.scorers.view import ScoringView
from autoscorer.utils.artifacts import open_regular, write_fresh

PARTS = ("cache", "results")
UNUSABLE = "CACHE_UNUSABLE"
Answer = TypeVar("Answer")


class _Stored(BaseModel):
    """The head of an entry; the artifacts' bytes follow in this order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    result: Result
    params: dict[str, Any]
    isolation: dict[str, Any]
    artifacts: dict[str, int]


@dataclass(frozen=True)
class CachedScoring:
    """One scoring as a question to the cache: where its answer is found and kept."""

    cache: ResultCache
    card: ScorerCard
    view: ScoringView
    question: Question

    def may_be_known(self) -> bool:
        """Whether it is worth while to wait for the files' hashes before scoring."""
        return bool(self.cache.guarded(lambda: self.cache.folder.has_any(self._group)))

    def find(self, content_sha256: str) -> Scoring | None:
        """The result that was kept, its artifacts laid out in the view; None if there is none."""
        started = time.perf_counter()

        def work() -> Scoring | None:
            content = self.cache.folder.read(self._group, self.question.key(content_sha256))
            return None if content is None else _unpacked(content, self.view.root / "output")

        scoring = self.cache.guarded(work)
        return scoring and replace(scoring, seconds=time.perf_counter() - started)

    def keep(self, content_sha256: str, scoring: Scoring) -> None:
        """Remember a result, unless what it was computed from has changed meanwhile."""
        if _or_none(lambda: look(self.card, self.view)) != self.question.watched:
            return
        folder, key = self.cache.folder, self.question.key(content_sha256)
        content = _packed(scoring, self.view.root / "output", folder.largest_entry_bytes)
        if content is not None:
            self.cache.guarded(lambda: folder.write(self._group, key, content))

    @property
    def _group(self) -> str:
        return self.question.quick[:16]


class ResultCache:
    """The results below `DATA_DIR/cache/results`, at most ``max_bytes``.

    Whatever is wrong with the folder is told to ``on_problem``, once, and is no failure: then nothing is
    found and nothing kept.
    """

    def __init__(self, data_dir: Path, max_bytes: int, on_problem: Callable[[str], None]) -> None:
        self.folder = CacheFolder(data_dir, PARTS, max_bytes)
        self._on_problem = on_problem
        self._is_broken = False

    def ask(
        self, card: ScorerCard, view: ScoringView, params: Mapping[str, Any], *, apart: bool
    ) -> CachedScoring | None:
        """The question for a scoring; None where its result is not to be cached."""
        question = _or_none(lambda: make_question(card, view, params, apart=apart))
        return CachedScoring(self, card, view, question) if question is not None else None

    def guarded(self, work: Callable[[], Answer]) -> Answer | None:
        """What ``work`` gives; None when the folder fails it, or has failed before."""
        if self._is_broken:
            return None
        try:
            return work()
        except OSError as exc:
            self._is_broken = True
            why = f"DATA_DIR/{'/'.join(PARTS)}: {exc.strerror}" if exc.strerror else str(exc)
            self._on_problem(f"results are not cached ({why}); CACHE_MAX_BYTES=0 turns the cache off")
            return None


def _or_none(work: Callable[[], Answer | None]) -> Answer | None:
    """What ``work`` sees of the view; None where it cannot look: the scorer names that fault itself."""
    try:
        return work()
    except OSError:
        return None


def _packed(scoring: Scoring, output: Path, most_bytes: int) -> bytes | None:
    """An entry's content; None when an artifact cannot be taken, or all is too large."""
    artifacts: dict[str, bytes] = {}
    for name, artifact in scoring.result.artifacts.items():
        content = _artifact_bytes(output, artifact, most_bytes - sum(map(len, artifacts.values())))
        if content is None:
            return None
        artifacts[name] = content
    head = _Stored(
        result=scoring.result,
        params=scoring.params,
        isolation=dict(scoring.isolation),
        artifacts={name: len(content) for name, content in artifacts.items()},
    )
    text = json.dumps(head.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)
    return b"".join((text.encode(), b"\n", *artifacts.values()))


def _artifact_bytes(output: Path, artifact: Artifact, most_bytes: int) -> bytes | None:
    """The file as it really is; None for what publishing will refuse and name as the scorer's fault."""
    if artifact.path != f"{FOLDER}/{Path(artifact.path).name}" or (output / FOLDER).is_symlink():
        return None
    try:
        with os.fdopen(open_regular(output / artifact.path, follow_links=False), "rb") as file:
            content = file.read(most_bytes + 1)
    except OSError:
        return None
    return content if len(content) <= most_bytes else None


def _unpacked(content: bytes, output: Path) -> Scoring | None:
    """The result as if computed now; resources are left out, for none were used."""
    text, _, rest = content.partition(b"\n")
    try:
        stored = _Stored.model_validate_json(text)
    except ValueError:
        return None
    for name, size in stored.artifacts.items():
        path = output / stored.result.artifacts[name].path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_fresh(path, rest[:size])
        rest = rest[size:]
    versioning = {**stored.result.versioning, "timestamp": iso_now()}
    return Scoring(
        result=stored.result.model_copy(update={"versioning": versioning}),
        params=stored.params,
        seconds=0.0,
        isolation=stored.isolation,
    )
