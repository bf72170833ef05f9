"""`autoscorer scorers unload`: let a name mean nothing; jobs that pinned its content still find it."""

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
    """Unload a scorer; `NAME@SHA256` still finds the content it had."""

    def work(frame: Frame) -> Answer:
        from autoscorer.commands._panels import pairs

        card = frame.catalog.library.unload(name)
        told = {"unloaded": card.name, "version": card.version, "sha256": card.sha256}
        return Answer(told, lambda: pairs(told))

    execute(context, work, as_json=as_json)
