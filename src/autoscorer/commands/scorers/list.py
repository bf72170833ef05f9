"""`autoscorer scorers list`: list the scorers with their metric and direction, and what failed to load."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption

if TYPE_CHECKING:
    from autoscorer.schemas.scorer import ScorerCard

COLUMNS = ("scorer", "version", "from", "task", "headline")  # they fit into 80 characters


def command(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """List the scorers with their metric and direction, and the files that could not be loaded."""

    def work(frame: Frame) -> Answer:
        from rich.console import Group

        from autoscorer.commands._loads import failure_panels
        from autoscorer.commands._panels import table

        entries = frame.catalog.entries()
        described = [entry.card.model_dump(mode="json", exclude={"example"}) for entry in entries]
        rows = [_row(entry.card) for entry in entries]
        failures = frame.catalog.library.failures()
        broken = frame.catalog.installed.failures
        told = [{"source": path, **failure.model_dump()} for path, failure in failures.items()]
        told += [{"source": name, **error.to_dict()} for name, error in broken.items()]
        return Answer(
            {"scorers": described, "failures": told},
            lambda: Group(table(COLUMNS, rows), *failure_panels({**failures, **broken})),
        )

    execute(context, work, as_json=as_json)


def _row(card: ScorerCard) -> list[str]:
    direction = {True: " ↑", False: " ↓", None: ""}[card.higher_is_better]
    names = "\n".join((card.name, *card.aliases))
    return [names, card.version, card.origin, card.task or "", (card.primary_metric or "") + direction]
