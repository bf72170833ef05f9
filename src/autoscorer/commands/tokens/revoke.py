"""`autoscorer tokens revoke`: make a token worth nothing, for ever."""

from __future__ import annotations

from typing import Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption
from autoscorer.commands._service import open_client


def command(
    context: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID", help="Its id, as `tokens list` shows it.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a token worth nothing, for ever."""

    def work(frame: Frame) -> Answer:
        from autoscorer.commands._panels import pairs

        revoked = open_client(frame).revoke_token(token_id)
        shown = {"revoked": revoked.token_id, "subject": revoked.subject, "at": revoked.revoked_at}
        return Answer({"token": revoked.model_dump(exclude={"secret"})}, lambda: pairs(shown))

    execute(context, work, as_json=as_json)
