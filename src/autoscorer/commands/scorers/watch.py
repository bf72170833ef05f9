"""`autoscorer scorers watch`: load scorers whenever their files change, until it is told to stop."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute, usage_error
from autoscorer.commands._options import JsonOption


def command(
    context: typer.Context,
    directory: Annotated[
        str | None,
        typer.Argument(metavar="[DIR]", help="A folder of scorers, or one file; else SCORERS_DIR."),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Load scorers whenever their files change; what happens is told on standard error."""

    def work(frame: Frame) -> Answer:
        from autoscorer.commands._panels import pairs, printable
        from autoscorer.scorers.library.watching import Event, watch

        watched = directory or frame.settings.scorers_dir
        if watched is None:
            usage_error("name a DIR, or set SCORERS_DIR")
        counts = {"loaded": 0, "failed": 0}

        def tell(event: Event) -> None:
            counts["failed" if event.error else "loaded"] += 1
            typer.echo(printable(event.text), err=True)

        typer.echo(f"watching {printable(str(watched))}; end with Ctrl-C", err=True)
        with suppress(KeyboardInterrupt):  # the usual end
            watch(frame.catalog.library, watched, stop=threading.Event(), tell=tell)
        return Answer({"watched": str(watched), **counts}, lambda: pairs(counts))

    execute(context, work, as_json=as_json)
