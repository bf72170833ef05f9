"""One scoring: a scorer and a view in, a finished result with its provenance out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from autoscorer import __version__
from autoscorer.reading.source import Role
from autoscorer.schemas.result import Result, canonical_json, score_digest
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.host import Entry, IsStopped, Scoring, never
from autoscorer.scorers.result_cache import ResultCache
from autoscorer.scorers.view import (
    ScoringView,
    combined_sha256,
    descriptor_sha256,
    file_names,
    tree_sha256,
)
from autoscorer.utils.artifacts import sha256_of
from autoscorer.utils.errors import AutoscorerError

SMALL_BYTES, SMALL_FILES = 2**20, 32
T = TypeVar("T")


def evaluate(
    catalog: Catalog,
    entry: Entry,
    view: ScoringView,
    params: Mapping[str, Any],
    provenance: Mapping[str, str],
    *,
    cache: ResultCache | None = None,
    is_stopped: IsStopped = never,
) -> Result:
    """Score ``view`` and complete the result: timing, hashes, parameters, ``provenance``, digest.

    The hashes are computed beside the scoring, unless the cache may know the result. Raises
    AutoscorerError as `Catalog.score`.
    """
    apart = catalog.computes_apart(entry)
    cached = cache.ask(entry.card, view, params, apart=apart) if cache else None
    with _beside(view) as pool:
        hashes = _Hashes(
            pool.submit(_reference_hashes, entry.card, view),
            pool.submit(_predictions_sha256, entry.card, view),
        )
        served = cached.find(hashes.content()) if cached and cached.may_be_known() else None
        scoring = served or catalog.score(entry, view.root, params, is_stopped=is_stopped)
    for file in view.pinned.values():
        file.check_unchanged()
    if cached and served is None:
        cached.keep(hashes.content(), scoring)
    result = _completed(scoring, entry.card, provenance, hashes)
    return _marked(result, is_cached=served is not None)


class _AtOnce(Executor):
    """Calls what it is given: to start a thread takes longer than to hash a small file."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as exc:  # boundary of a task: whoever asks for the result gets it
            done.set_exception(exc)
        return done


def _beside(view: ScoringView) -> Executor:
    """Where the hashes of a view are computed: in threads beside the scorer, or at once if they are few."""
    if _is_small(view):
        return _AtOnce()
    return ThreadPoolExecutor(max_workers=2, thread_name_prefix="sha256")


def _is_small(view: ScoringView) -> bool:
    """Whether there is little to hash: what was delivered has been hashed when it was taken."""
    size = files = 0
    for name in ("reference", "input", *(["output"] if view.pinned else [])):
        try:
            with os.scandir(view.root / name) as entries:
                for entry in islice(entries, SMALL_FILES + 1):
                    files += 1
                    size += SMALL_BYTES if entry.is_dir() else entry.stat().st_size
        except OSError:
            continue  # if it is needed, hashing it tells
    return files <= SMALL_FILES and size < SMALL_BYTES


@dataclass(frozen=True)
class _ReferenceHashes:
    """Of `reference/` as a whole, and of each file in `input/` that would be a truth."""

    tree: str | None
    in_input: dict[str, str]

    @property
    def sha256(self) -> str | None:
        """That of the truth. Of several in `input/` none is read: the scorer names this fault itself."""
        return self.tree or (next(iter(self.in_input.values())) if len(self.in_input) == 1 else None)


@dataclass(frozen=True)
class _Hashes:
    """The hashes of a view, perhaps still being computed."""

    reference: Future[_ReferenceHashes]
    predictions: Future[str | None]

    def content(self) -> str:
        """All of them as one text, for the cache's key; raises what computing them raised."""
        reference = self.reference.result()
        return canonical_json([reference.tree, reference.in_input, self.predictions.result()])


def _completed(scoring: Scoring, card: ScorerCard, provenance: Mapping[str, str], hashes: _Hashes) -> Result:
    result = scoring.result
    reference_sha256 = hashes.reference.result().sha256 or ""
    digest = score_digest(
        result,
        scorer=card.name,
        scorer_sha256=card.sha256,
        params=scoring.params,
        reference_sha256=reference_sha256,
    )
    versioning = {
        **result.versioning,
        **provenance,
        "scorer": card.name,
        "version": card.version,
        "timestamp": _time_or_now(result.versioning["timestamp"]),
        "autoscorer": __version__,
        "scorer_sha256": card.sha256,
        "scorer_isolation": canonical_json(dict(scoring.isolation)),
        "reference_sha256": reference_sha256,
        "predictions_sha256": hashes.predictions.result() or "",
        "params": canonical_json(scoring.params),
        "score_digest": digest,
    }
    timing = {**result.timing, "score_seconds": round(scoring.seconds, 6)}
    resources = {**result.resources, **scoring.resources}
    return result.model_copy(update={"versioning": versioning, "timing": timing, "resources": resources})


def _time_or_now(told: str) -> str:
    """The scorer's time stamp if it is a time in ISO 8601, else ours."""
    try:
        datetime.fromisoformat(told)
    except ValueError:
        return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return told


def _marked(result: Result, *, is_cached: bool) -> Result:
    """Only the platform says that a result was not computed for this job."""
    others = {name: text for name, text in result.versioning.items() if name != "cached"}
    marks = {"cached": "true"} if is_cached else {}
    return result.model_copy(update={"versioning": others | marks})


def _reference_hashes(card: ScorerCard, view: ScoringView) -> _ReferenceHashes:
    if pinned := view.pinned.get(Role.REFERENCE):
        return _ReferenceHashes(descriptor_sha256(pinned.descriptor), {})
    folder = view.root / "reference"
    try:
        tree = tree_sha256(folder) if folder.is_dir() else None
    except OSError as exc:
        message = f"reference/ cannot be read ({exc.strerror})"
        raise AutoscorerError("BAD_FORMAT", message, cause=Role.REFERENCE) from exc
    return _ReferenceHashes(tree, _input_hashes(card, view))


def _input_hashes(card: ScorerCard, view: ScoringView) -> dict[str, str]:
    names, found = file_names(card, Role.REFERENCE), {}
    if any(os.path.lexists(view.root / "reference" / name) for name in names):
        return {}  # a scorer looks there first
    for name in names:
        try:
            found[name] = sha256_of(view.root / "input" / name)
        except OSError:
            continue  # if the scorer needs it, it names this fault itself
    return found


def _predictions_sha256(card: ScorerCard, view: ScoringView) -> str | None:
    if pinned := view.pinned.get(Role.PREDICTION):
        return descriptor_sha256(pinned.descriptor)
    hashes = view.delivered.sha256
    named = {name: hashes[name] for name in file_names(card, Role.PREDICTION) if name in hashes}
    return combined_sha256(named or hashes)
