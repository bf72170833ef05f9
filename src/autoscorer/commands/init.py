"""`autoscorer init`: make a workspace that is ready to run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute, parse_choice
from autoscorer.commands._options import JsonOption


def command(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="classification, regression, detection, …")],
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The folder to make.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a ready workspace for a task."""

    from autoscorer.templates import task_names, write_template

    parse_choice(task, task_names(), "TASK")

    def work(_frame: Frame) -> Answer:
        from autoscorer.commands._panels import pairs, titled

        files = [str(path) for path in write_template(task, Path(directory))]
        shown = {"files": "\n".join(files), "next": f"autoscorer pipeline {directory} --backend local"}
        return Answer(
            {"task": task, "workspace": directory, "files": files},
            lambda: titled(f"{directory} is ready", pairs(shown), colour="green"),
        )

    execute(context, work, as_json=as_json)
