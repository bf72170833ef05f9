"""`autoscorer callbacks resend`: send a message to its receiver once more."""

from __future__ import annotations

from typing import Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption
from autoscorer.commands._service import open_client


def command(
    context: typer.Context,
    callback_id: Annotated[str, typer.Argument(metavar="ID", help="As `callbacks list` shows it.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Send a message to its receiver once more, whatever became of it."""

    def work(frame: Frame) -> Answer:
        sent = open_client(frame).resend(callback_id)
        return Answer({"callback": sent.model_dump()}, lambda: f"{sent.callback_id} goes out within seconds")

    execute(context, work, as_json=as_json)
