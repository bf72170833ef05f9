"""`autoscorer tokens list`: list the tokens of an organisation, without their secrets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption
from autoscorer.commands._service import open_client

if TYPE_CHECKING:
    from autoscorer.schemas.service import TokenView


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

        tokens, now = open_client(frame).tokens(organisation), datetime.now(UTC)
        rows = [(one.token_id, one.subject, one.role, _valid(one, now)) for one in tokens]
        data = {"tokens": [one.model_dump(exclude={"secret"}) for one in tokens]}
        return Answer(data, lambda: table(("id", "subject", "role", "valid"), rows))

    execute(context, work, as_json=as_json)


def _valid(token: TokenView, now: datetime) -> str:
    if token.revoked_at is not None:
        return f"revoked {token.revoked_at[:10]}"
    if token.expires_at is None:
        return "for ever"
    try:
        has_expired = datetime.fromisoformat(token.expires_at) <= now
    except (ValueError, TypeError):  # no time, or one without a zone
        return "unknown"
    return f"{'expired' if has_expired else 'until'} {token.expires_at[:10]}"
