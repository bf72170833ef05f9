"""`autoscorer callbacks list`: list the messages to receivers, newest first."""

from __future__ import annotations

from typing import Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute, parse_choice
from autoscorer.commands._options import JsonOption
from autoscorer.commands._service import open_client

STATES = ("pending", "delivered", "dead")


def command(
    context: typer.Context,
    *,
    state: Annotated[
        str | None, typer.Option(metavar="|".join(STATES), help="Only those; dead ones were given up.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the messages to receivers, newest first."""

    def work(frame: Frame) -> Answer:
        from autoscorer.commands._panels import table

        if state is not None:
            parse_choice(state, STATES, "--state")
        found = open_client(frame).callbacks(state=state)
        columns = ("id", "job ended", "state", "tries", "latest failure")
        rows = [(one.callback_id, one.job_state, one.state, one.tries, one.last_error or "") for one in found]
        return Answer({"callbacks": [one.model_dump() for one in found]}, lambda: table(columns, rows))

    execute(context, work, as_json=as_json)
