"""`autoscorer score`: compare predictions with the truth, write the result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute, parse_params, usage_error
from autoscorer.commands._jobs import make_context, result_answer, scored_answer
from autoscorer.commands._options import IsolateOption, JsonOption, KeepOption, NoCacheOption, PlotsOption


def command(
    context: typer.Context,
    workspace: Annotated[
        str | None, typer.Argument(metavar="[WORKSPACE]", help="The workspace folder.")
    ] = None,
    *,
    reference: Annotated[
        str | None, typer.Option(metavar="FILE", help="The truth, to score without a workspace.")
    ] = None,
    predictions: Annotated[
        str | None, typer.Option(metavar="FILE", help="The predictions, to score without a workspace.")
    ] = None,
    scorer: Annotated[
        str | None, typer.Option(metavar="NAME", help="The scorer; in a workspace that of meta.json.")
    ] = None,
    params: Annotated[
        str | None, typer.Option(metavar="JSON", help="The scorer's parameters instead of scorer_params.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="DIR", help="Without a workspace: write result.json here.")
    ] = None,
    isolate: IsolateOption = False,
    keep: KeepOption = False,
    no_cache: NoCacheOption = False,
    plots: PlotsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare predictions with the truth and write the result."""
    chosen = parse_params(params)
    if workspace is None and not (reference and predictions and scorer):
        usage_error("give a WORKSPACE, or --reference, --predictions and --scorer")
    if workspace is not None and (reference or predictions or output):
        usage_error("--reference, --predictions and --output go without a WORKSPACE")
    if plots and workspace is None and not output:
        usage_error("--plots needs a place for the pictures: --output DIR")

    def work(frame: Frame) -> Answer:
        frame.isolate, frame.use_cache = isolate, not no_cache
        if workspace is not None:
            return _workspace(frame, workspace)
        return _files(frame)

    def _workspace(frame: Frame, path: str) -> Answer:
        from autoscorer import pipeline

        job = make_context(frame, keep=keep, plots=plots)
        return scored_answer(pipeline.score(job, path, scorer_name=scorer, params=chosen))

    def _files(frame: Frame) -> Answer:
        from autoscorer import facade

        result = facade.score_files(
            frame.catalog,
            Path(reference or ""),
            Path(predictions or ""),
            scorer or "",
            params=chosen,
            output=Path(output) if output else None,
            cache=frame.cache,
            plots=plots,
        )
        return result_answer(result, str(Path(output) / "result.json") if output else "")

    execute(context, work, as_json=as_json)
