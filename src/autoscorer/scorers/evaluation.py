"""One scoring: a scorer and a view in, a finished result with its provenance out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from autoscorer import __version__
from autoscorer.reading.source import Role, find_source
from autoscorer.schemas.result import Result, canonical_json, score_digest
from autoscorer.scorers.base import Scorer
from autoscorer.scorers.content import scorer_sha256
from autoscorer.scorers.invoke import check_params, invoke
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
    scorer: Scorer, view: ScoringView, params: Mapping[str, Any], provenance: Mapping[str, str]
) -> Result:
    """Score ``view`` and complete the result: timing, hashes, parameters, ``provenance``, digest.

    The hashes are computed beside the scoring. Raises AutoscorerError as `invoke` and `check_params`.
    """
    complete_params = check_params(scorer, dict(params))
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="sha256") as pool:
        reference = pool.submit(_reference_sha256, scorer, view)
        predictions = pool.submit(_predictions_sha256, scorer, view)
        started = time.perf_counter()
        result = invoke(scorer, view.root, complete_params)
        seconds = time.perf_counter() - started
    for file in view.pinned.values():
        file.check_unchanged()
    return _completed(
        result,
        scorer,
        params=complete_params,
        seconds=seconds,
        provenance=provenance,
        reference=reference,
        predictions=predictions,
    )


def _completed(
    result: Result,
    scorer: Scorer,
    *,
    params: dict[str, Any],
    seconds: float,
    provenance: Mapping[str, str],
    reference: Future[str | None],
    predictions: Future[str | None],
) -> Result:
    sha256 = scorer_sha256(scorer)
    reference_sha256 = reference.result() or ""
    digest = score_digest(
        result, scorer=scorer.name, scorer_sha256=sha256, params=params, reference_sha256=reference_sha256
    )
    versioning = {
        **result.versioning,
        **provenance,
        "scorer": result.versioning["scorer"],
        "version": result.versioning["version"],
        "autoscorer": __version__,
        "scorer_sha256": sha256,
        "reference_sha256": reference_sha256,
        "predictions_sha256": predictions.result() or "",
        "params": canonical_json(params),
        "score_digest": digest,
    }
    timing = {**result.timing, "score_seconds": round(seconds, 6)}
    return result.model_copy(update={"versioning": versioning, "timing": timing})


def _reference_sha256(scorer: Scorer, view: ScoringView) -> str | None:
    """The hash of `reference/`, or of the truth's file where it stands in `input/`."""
    if pinned := view.pinned.get(Role.REFERENCE):
        return descriptor_sha256(pinned.descriptor)
    folder = view.root / "reference"
    if folder.is_dir() and (sha256 := tree_sha256(folder)):
        return sha256
    return _found_sha256(scorer, view.root, Role.REFERENCE)


def _predictions_sha256(scorer: Scorer, view: ScoringView) -> str | None:
    if pinned := view.pinned.get(Role.PREDICTION):
        return descriptor_sha256(pinned.descriptor)
    hashes = view.delivered.sha256
    named = {name: hashes[name] for name in file_names(scorer, Role.PREDICTION) if name in hashes}
    return combined_sha256(named or hashes)


def _found_sha256(scorer: Scorer, root: Path, role: Role) -> str | None:
    try:
        return sha256_of(find_source(root, role, file_names(scorer, role)).path)
    except (AutoscorerError, OSError):
        return None  # the scorer names this fault itself, with its own words
