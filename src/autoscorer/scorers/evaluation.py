"""One scoring: a scorer and a view in, a finished result with its provenance out."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from autoscorer import __version__
from autoscorer.reading.source import Role, find_source
from autoscorer.schemas.result import Result, canonical_json, score_digest
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.host import Entry, Scoring
from autoscorer.scorers.view import (
    ScoringView,
    combined_sha256,
    descriptor_sha256,
    file_names,
    tree_sha256,
)
from autoscorer.utils.artifacts import sha256_of
from autoscorer.utils.errors import AutoscorerError


def evaluate(
    catalog: Catalog,
    entry: Entry,
    view: ScoringView,
    params: Mapping[str, Any],
    provenance: Mapping[str, str],
) -> Result:
    """Score ``view`` and complete the result: timing, hashes, parameters, ``provenance``, digest.

    The hashes are computed beside the scoring. Raises AutoscorerError as `Catalog.score`.
    """
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="sha256") as pool:
        reference = pool.submit(_reference_sha256, entry.card, view)
        predictions = pool.submit(_predictions_sha256, entry.card, view)
        scoring = catalog.score(entry, view.root, params)
    for file in view.pinned.values():
        file.check_unchanged()
    return _completed(scoring, entry.card, provenance, reference=reference, predictions=predictions)


def _completed(
    scoring: Scoring,
    card: ScorerCard,
    provenance: Mapping[str, str],
    *,
    reference: Future[str | None],
    predictions: Future[str | None],
) -> Result:
    result = scoring.result
    reference_sha256 = reference.result() or ""
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
        "scorer": result.versioning["scorer"],
        "version": result.versioning["version"],
        "autoscorer": __version__,
        "scorer_sha256": card.sha256,
        "scorer_isolation": canonical_json(dict(scoring.isolation)),
        "reference_sha256": reference_sha256,
        "predictions_sha256": predictions.result() or "",
        "params": canonical_json(scoring.params),
        "score_digest": digest,
    }
    timing = {**result.timing, "score_seconds": round(scoring.seconds, 6)}
    resources = {**result.resources, **scoring.resources}
    return result.model_copy(update={"versioning": versioning, "timing": timing, "resources": resources})


def _reference_sha256(card: ScorerCard, view: ScoringView) -> str | None:
    """The hash of `reference/`, or of the truth's file where it stands in `input/`."""
    if pinned := view.pinned.get(Role.REFERENCE):
        return descriptor_sha256(pinned.descriptor)
    folder = view.root / "reference"
    try:
        if folder.is_dir() and (sha256 := tree_sha256(folder)):
            return sha256
    except OSError as exc:
        message = f"reference/ cannot be read ({exc.strerror})"
        raise AutoscorerError("BAD_FORMAT", message, cause=Role.REFERENCE) from exc
    return _found_sha256(card, view.root, Role.REFERENCE)


def _predictions_sha256(card: ScorerCard, view: ScoringView) -> str | None:
    if pinned := view.pinned.get(Role.PREDICTION):
        return descriptor_sha256(pinned.descriptor)
    hashes = view.delivered.sha256
    named = {name: hashes[name] for name in file_names(card, Role.PREDICTION) if name in hashes}
    return combined_sha256(named or hashes)


def _found_sha256(card: ScorerCard, root: Path, role: Role) -> str | None:
    try:
        return sha256_of(find_source(root, role, file_names(card, role)).path)
    except (AutoscorerError, OSError):
        return None  # the scorer names this fault itself, with its own words
