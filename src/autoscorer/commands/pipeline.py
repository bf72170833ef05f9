"""`autoscorer pipeline`: run a program isolated, then score its predictions."""

from __future__ import annotations

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._jobs import make_context, scored_answer
from autoscorer.commands._options import (
    BackendOption,
    IsolateOption,
    IsolationOption,
    JsonOption,
    KeepOption,
    NoCacheOption,
    PlotsOption,
    WorkspaceArgument,
)


def command(
    context: typer.Context,
    workspace: WorkspaceArgument,
    *,
    backend: BackendOption = "auto",
    isolation: IsolationOption = "hardened",
    isolate: IsolateOption = False,
    keep: KeepOption = False,
    no_cache: NoCacheOption = False,
    plots: PlotsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a workspace's program isolated, then score its predictions."""

    def work(frame: Frame) -> Answer:
        from autoscorer import pipeline

        frame.isolate, frame.use_cache = isolate, not no_cache
        job = make_context(frame, backend=backend, isolation=isolation, keep=keep, plots=plots)
        return scored_answer(pipeline.run_then_score(job, workspace))

    execute(context, work, as_json=as_json)
