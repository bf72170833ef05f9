"""The public functions: score, run, and both after each other; and one file against another."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoscorer import runtime
from autoscorer.reports.pictures import NOT_DRAWN, add_pictures, check_can_draw
from autoscorer.schemas.job import SpecFault, spec_error
from autoscorer.schemas.result import Result
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.evaluation import evaluate
from autoscorer.scorers.host import Entry
from autoscorer.scorers.result_cache import ResultCache
from autoscorer.scorers.view import files_view
from autoscorer.utils.artifacts import temporary_folder
from autoscorer.utils.config import Config

if TYPE_CHECKING:  # to score one file against another, none of these is needed
    from autoscorer.records import JobFacts
    from autoscorer.scheduler import Isolation


def score(
    workspace: str | Path | None = None,
    *,
    reference: str | Path | None = None,
    predictions: str | Path | None = None,
    scorer: str | None = None,
    params: Mapping[str, Any] | None = None,
    cache: bool = True,
    plots: bool = False,
    config: Config | None = None,
) -> Result:
    """Score a workspace's `output/`, or one predictions file against one reference file.

    ``score("examples/classification")`` writes `output/result.json`;
    ``score(reference="gt.csv", predictions="pred.csv", scorer="classification_f1")`` writes nothing.
    A result that is known is not computed again (``versioning["cached"]``); with ``cache=False`` it is.
    ``plots`` adds pictures to a workspace's artifacts (needs the extra of that name).
    Raises AutoscorerError; its ``code`` and ``blame`` say what was wrong and whose fault it is.
    """
    settings = (config or Config()).settings
    results = runtime.logged_cache(settings, is_wanted=cache)
    if workspace is not None:
        if reference is not None or predictions is not None:
            raise ValueError("give either a workspace or reference and predictions")
        from autoscorer import pipeline

        with runtime.open_catalog(settings) as catalog:
            context = runtime.job_context(settings, catalog, cache=results, plots=plots)
            return pipeline.score(context, workspace, scorer_name=scorer, params=params).result
    if reference is None or predictions is None or scorer is None:
        raise ValueError("without a workspace, reference, predictions and scorer are needed")
    if plots:
        raise ValueError("pictures are put into a workspace's output, and there is no workspace")
    with runtime.open_catalog(settings) as catalog:
        return score_files(catalog, Path(reference), Path(predictions), scorer, params=params, cache=results)


def run(
    workspace: str | Path,
    *,
    backend: str = "auto",
    isolation: Isolation = "hardened",
    config: Config | None = None,
) -> JobFacts:
    """Run a workspace's container (inference only); its predictions end in `output/`.

    Raises AutoscorerError.
    """
    from autoscorer import pipeline

    settings = (config or Config()).settings
    with runtime.open_catalog(settings) as catalog:
        context = runtime.job_context(settings, catalog, backend=backend, isolation=isolation)
        return pipeline.run(context, workspace)


def run_pipeline(
    workspace: str | Path,
    *,
    backend: str = "auto",
    isolation: Isolation = "hardened",
    cache: bool = True,
    plots: bool = False,
    config: Config | None = None,
) -> Result:
    """Run a workspace's container, then score its predictions; ``plots`` adds pictures.

    Raises AutoscorerError.
    """
    from autoscorer import pipeline

    settings = (config or Config()).settings
    with runtime.open_catalog(settings) as catalog:
        results = runtime.logged_cache(settings, is_wanted=cache)
        context = runtime.job_context(
            settings, catalog, cache=results, backend=backend, isolation=isolation, plots=plots
        )
        return pipeline.run_then_score(context, workspace).result


def score_files(
    catalog: Catalog,
    reference: Path,
    predictions: Path,
    scorer_name: str,
    *,
    params: Mapping[str, Any] | None = None,
    output: Path | None = None,
    cache: ResultCache | None = None,
    plots: bool = False,
) -> Result:
    """Score one file against another; with ``output`` its result and artifacts are written there.

    They replace those of an earlier score, never anything else. ``plots`` adds pictures to them.
    Raises AutoscorerError; CONFIG_VALIDATION_ERROR when something else has their names in ``output``.
    """
    if plots:
        check_can_draw()
    with catalog.held(scorer_name) as entry:
        if output is not None:
            _make_output(output)
            _check_output(output)
        given = params or {}
        result = _score_files(
            catalog, entry, reference, predictions, params=given, output=output, cache=cache
        )
    if output is not None:
        from autoscorer import records

        result = _with_pictures(result, output) if plots else result
        records.publish_result(result, output)
    return result


def _score_files(
    catalog: Catalog,
    entry: Entry,
    reference: Path,
    predictions: Path,
    *,
    params: Mapping[str, Any],
    output: Path | None,
    cache: ResultCache | None,
) -> Result:
    """The result; its artifacts are in ``output``, if there is one."""
    with temporary_folder() as root:
        with files_view(entry.card, reference, predictions, root) as view:
            provenance = {"isolation": "none: nothing was run", "image_digest": "none"}
            result = evaluate(catalog, entry, view, params, provenance, cache=cache)
        if output is None:
            return result.model_copy(update={"artifacts": {}})
        from autoscorer import records

        return records.publish_artifacts(result, root / "output", output)


def _with_pictures(result: Result, output: Path) -> Result:
    from autoscorer.utils.logger import log_event

    started = time.perf_counter()
    drawn, doubts = add_pictures(result, output)
    for doubt in doubts:
        log_event("WARNING", NOT_DRAWN.lower(), message=doubt)
    timing = {**result.timing, "plots_seconds": round(time.perf_counter() - started, 6)}
    return drawn.model_copy(update={"timing": timing})


def _make_output(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        fault = SpecFault("--output", f"cannot be made ({exc.strerror})", "name a folder you may write to")
        raise spec_error([fault], cause="workspace") from exc


def _check_output(output: Path) -> None:
    from autoscorer import records

    if foreign := records.not_ours(output):
        what = f"holds {' and '.join(foreign)}, which no score put there as it is now"
        fault = SpecFault("--output", what, "name a new folder, or move that away")
        raise spec_error([fault], cause="workspace")
