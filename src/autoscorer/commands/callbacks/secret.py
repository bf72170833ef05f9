"""`autoscorer callbacks secret`: show the secret that receivers verify callbacks with."""

from __future__ import annotations

from typing import Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption
from autoscorer.commands._service import open_client


def command(
    context: typer.Context,
    *,
    organisation: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of this organisation.", show_default="your own")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the secret that receivers verify callbacks with."""

    def work(frame: Frame) -> Answer:
        found = open_client(frame).callback_secret(organisation)
        return Answer(found.model_dump(), lambda: found.secrets[0])

    execute(context, work, as_json=as_json)
