"""`autoscorer scorers list`: list the scorers with their metric and direction, and what failed to load."""

from __future__ import annotations

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption

COLUMNS = ("name", "version", "origin", "task", "primary_metric", "higher_is_better", "aliases")


def command(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """List the scorers with their metric and direction, and the files that could not be loaded."""

    def work(frame: Frame) -> Answer:
        from rich.console import Group

        from autoscorer.commands._loads import failure_panels
        from autoscorer.commands._panels import table

        described = [entry.card.model_dump(mode="json") for entry in frame.catalog.entries()]
        rows = [["" if row[name] is None else row[name] for name in COLUMNS] for row in described]
        failures = frame.catalog.library.failures()
        broken = frame.catalog.installed.failures
        told = [{"source": path, **failure.model_dump()} for path, failure in failures.items()]
        told += [{"source": name, **error.to_dict()} for name, error in broken.items()]
        return Answer(
            {"scorers": described, "failures": told},
            lambda: Group(table(COLUMNS, rows), *failure_panels({**failures, **broken})),
        )

    execute(context, work, as_json=as_json)
