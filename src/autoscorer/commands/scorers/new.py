"""`autoscorer scorers new`: write a scorer and its test, ready to be changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute, parse_choice
from autoscorer.commands._options import JsonOption


def command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it, such as my_metric.")],
    *,
    task: Annotated[
        str, typer.Option(metavar="TASK", help="What it scores: classification, regression, detection, ….")
    ] = "classification",
    directory: Annotated[str, typer.Option("--dir", metavar="DIR", help="The folder to write into.")] = ".",
    as_json: JsonOption = False,
) -> None:
    """Write a scorer and its test, ready to be changed."""

    from autoscorer.templates.scorers import task_names, write_scorer

    parse_choice(task, task_names(), "--task")

    def work(frame: Frame) -> Answer:
        from autoscorer.commands._panels import pairs, titled

        _check_free(frame, name)
        scorer, test = (str(path) for path in write_scorer(name, task, Path(directory)))
        shown = {"scorer": scorer, "test": test, "next": f"pytest {test}"}
        return Answer(
            {"name": name, "task": task, "files": [scorer, test]},
            lambda: titled(f"{name} is ready", pairs(shown), colour="green"),
        )

    execute(context, work, as_json=as_json)


def _check_free(frame: Frame, name: str) -> None:
    """Raises CONFIG_VALIDATION_ERROR if a scorer of this installation is called so."""
    from autoscorer.utils.errors import AutoscorerError

    taken = {known for entry in frame.catalog.entries() for known in (entry.card.name, *entry.card.aliases)}
    if name in taken:
        message = f"a scorer is called {name!r} already; choose another name"
        raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="workspace")
