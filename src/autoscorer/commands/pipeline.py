"""`autoscorer pipeline`: run a program isolated, then score its predictions."""

from __future__ import annotations

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._jobs import make_context, result_answer
from autoscorer.commands._options import (
    BackendOption,
    IsolationOption,
    JsonOption,
    KeepOption,
    WorkspaceArgument,
)


def command(
    context: typer.Context,
    workspace: WorkspaceArgument,
    *,
    backend: BackendOption = "auto",
    isolation: IsolationOption = "hardened",
    keep: KeepOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a workspace's program isolated, then score its predictions."""

    def work(frame: Frame) -> Answer:
        from autoscorer import pipeline
        from autoscorer.validation import exposure_warnings
        from autoscorer.workspace import Workspace

        job = make_context(frame, backend=backend, isolation=isolation, keep=keep)
        result = pipeline.run_then_score(job, workspace)
        opened = Workspace.open(workspace)
        return result_answer(result, pipeline.result_path(opened), exposure_warnings(opened))

    execute(context, work, as_json=as_json)
