"""`autoscorer explain`: what a code means, whose fault it is, what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute, usage_error
from autoscorer.commands._options import JsonOption

if TYPE_CHECKING:
    from rich.console import RenderableType

    from autoscorer.utils.errors import CodeRow


def command(
    context: typer.Context,
    code: Annotated[
        str | None, typer.Argument(metavar="[CODE]", help="A code; all of them if left out.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Explain an error code, in English and Chinese."""
    from autoscorer.utils.errors import code_table

    rows = [row for row in code_table() if code is None or row.code == code.upper()]
    if not rows:
        import difflib

        near = difflib.get_close_matches((code or "").upper(), {row.code for row in code_table()}, n=1)
        guess = f"; did you mean {near[0]}?" if near else "; `autoscorer explain` lists them all"
        usage_error(f"{code} is not a code{guess}")

    def work(_frame: Frame) -> Answer:
        return Answer({"codes": [asdict(row) for row in rows]}, lambda: _panel(rows, whole=code is not None))

    execute(context, work, as_json=as_json)


def _panel(rows: list[CodeRow], *, whole: bool) -> RenderableType:
    from rich.console import Group

    from autoscorer.commands._panels import pairs, table, titled

    if not whole:
        listed = [
            [row.code, row.cause, row.blame, "yes" if row.retryable else "", row.meaning_en] for row in rows
        ]
        return table(["code", "cause", "fault of", "retried", "meaning"], listed)
    panels = [
        titled(
            row.code + (f" ({row.cause})" if row.cause else ""),
            pairs(
                {
                    "stage": row.stage,
                    "fault of": row.blame,
                    "tried again": "yes, by the platform" if row.retryable else "no",
                    "meaning": row.meaning_en,
                    "含义": row.meaning_zh,
                    "what to do": row.hint_en,
                    "怎么办": row.hint_zh,
                }
            ),
        )
        for row in rows
    ]
    return Group(*panels)
