"""`autoscorer tokens create`: make a token and show its secret, this once."""

from __future__ import annotations

from typing import Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute, parse_choice
from autoscorer.commands._options import JsonOption
from autoscorer.commands._service import open_client

ROLES = ("operator", "organiser", "participant", "viewer")


def command(
    context: typer.Context,
    subject: Annotated[
        str, typer.Argument(metavar="SUBJECT", help="The person or program that will hold it.")
    ],
    *,
    role: Annotated[
        str, typer.Option(metavar="|".join(ROLES), help="What its holder may do.")
    ] = "participant",
    organisation: Annotated[
        str | None, typer.Option(metavar="NAME", help="In this organisation.", show_default="your own")
    ] = None,
    days: Annotated[
        float | None, typer.Option(metavar="DAYS", help="How long it is valid.", show_default="for ever")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token and show its secret, this once."""

    def work(frame: Frame) -> Answer:
        from autoscorer.commands._panels import pairs, titled

        parse_choice(role, ROLES, "--role")
        made = open_client(frame).create_token(subject, role, organisation=organisation, valid_days=days)
        shown = {
            "secret": made.secret,
            "": "it is shown this once; give it to its holder on a safe way",
            "id": made.token_id,
            "subject": made.subject,
            "role": made.role,
            "expires": made.expires_at or "never",
        }
        return Answer(
            {"token": made.model_dump()}, lambda: titled("a new token", pairs(shown), colour="green")
        )

    execute(context, work, as_json=as_json)
