"""`autoscorer scorers list`: list the scorers with their metric and direction."""

from __future__ import annotations

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption


def command(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """List the scorers with their metric and direction."""

    def work(frame: Frame) -> Answer:
        from autoscorer.commands._panels import table

        described = [
            entry.card.model_dump(mode="json", exclude={"example"}) for entry in frame.catalog.entries()
        ]
        columns = ["name", "version", "task", "primary_metric", "higher_is_better", "aliases"]
        rows = [["" if row[name] is None else row[name] for name in columns] for row in described]
        return Answer({"scorers": described}, lambda: table(columns, rows))

    execute(context, work, as_json=as_json)
