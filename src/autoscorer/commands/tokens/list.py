"""`autoscorer tokens list`: list the tokens of an organisation, without their secrets."""

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
    """List the tokens of an organisation, without their secrets."""

    def work(frame: Frame) -> Answer:
        from autoscorer.commands._panels import table

        tokens = open_client(frame).tokens(organisation)
        columns = ("id", "subject", "role", "begins with", "made", "expires", "revoked")
        times = [(one.created_at, one.expires_at or "never", one.revoked_at or "") for one in tokens]
        rows = [
            (one.token_id, one.subject, one.role, f"{one.prefix}…", *(at[:10] for at in moments))  # the day
            for one, moments in zip(tokens, times, strict=True)
        ]
        data = {"tokens": [one.model_dump(exclude={"secret"}) for one in tokens]}
        return Answer(data, lambda: table(columns, rows))

    execute(context, work, as_json=as_json)
