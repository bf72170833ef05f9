"""`autoscorer run`: run a program isolated; its predictions end in output/."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._jobs import make_context
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and run nothing.")] = False,
    keep: KeepOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a workspace's program isolated; its predictions end in output/."""

    def work(frame: Frame) -> Answer:
        return _planned(frame) if dry_run else _run(frame)

    def _run(frame: Frame) -> Answer:
        from autoscorer import pipeline
        from autoscorer.commands._panels import pairs, titled

        job = make_context(frame, backend=backend, isolation=isolation, keep=keep)
        facts = pipeline.run(job, workspace)
        shown = {**facts.output, **facts.timing, **facts.resources, "backend": facts.provenance["backend"]}
        return Answer(
            {"workspace": workspace, **pipeline.facts_as_data(facts)},
            lambda: titled("predictions in output/", pairs(shown), colour="green"),
            facts.warnings,
        )

    def _planned(frame: Frame) -> Answer:
        from autoscorer import pipeline
        from autoscorer.commands._panels import pairs, titled
        from autoscorer.validation import validate
        from autoscorer.workspace import Workspace

        job = make_context(frame, backend=backend, isolation=isolation, keep=keep)
        spec, warnings = validate(workspace, frame.settings, frame.catalog)
        planned = pipeline.plan(job, Workspace.open(workspace), spec)
        executor = job.choose()
        limits = asdict(planned.limits)
        what = {
            "job_id": spec.job_id,
            "backend": executor.name,
            "isolation": isolation,
            "image": planned.image,
            "command": list(planned.command),
            "env_names": sorted(planned.env),
        }
        data = {**what, "limits": limits}
        shown = {**what, "command": shlex.join(planned.command), **limits}
        return Answer(data, lambda: titled("would run", pairs(shown)), warnings)

    execute(context, work, as_json=as_json)
