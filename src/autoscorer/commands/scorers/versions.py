"""`autoscorer scorers versions`: the contents a scorer's name has meant, and what failed last."""

from __future__ import annotations

from typing import Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption


def command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A scorer that was loaded from a file.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show a scorer's versions, newest first, which one serves, and what failed last."""

    def work(frame: Frame) -> Answer:
        from rich.console import Group

        from autoscorer.commands._loads import failure_panels, shortened
        from autoscorer.commands._panels import table

        library = frame.catalog.library
        known = library.history(name)
        failures = {path: told for path, told in library.failures().items() if path == known.source}
        versions = [
            {**version.model_dump(), "serves": version.sha256 == known.current} for version in known.versions
        ]
        columns = ["version", "sha256", "loaded_at", "serves"]
        rows = [[shortened(version[column]) for column in columns] for version in versions]
        found = {
            "name": name,
            "source": known.source,
            "versions": versions,
            "failure": failures[known.source].model_dump() if failures else None,
        }
        return Answer(found, lambda: Group(table(columns, rows), *failure_panels(failures)))

    execute(context, work, as_json=as_json)
