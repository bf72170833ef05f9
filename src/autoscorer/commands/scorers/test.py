"""`autoscorer scorers test`: score a workspace with a scorer and try every contract, writing nothing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoscorer.commands._frame import EXIT_FAILED, Answer, Frame, execute, parse_params
from autoscorer.commands._options import JsonOption

if TYPE_CHECKING:
    from rich.console import RenderableType

    from autoscorer.testing.examination import Examination


def command(
    context: typer.Context,
    *,
    scorer_name: Annotated[str, typer.Option(metavar="NAME", help="The scorer to try.")],
    workspace: Annotated[
        str | None, typer.Option(metavar="WS", help="Try it on this data instead of its example.")
    ] = None,
    params: Annotated[
        str | None, typer.Option(metavar="JSON", help="The scorer's parameters instead of those given there.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a workspace with a scorer and try every contract, writing nothing."""
    chosen = parse_params(params)

    def work(frame: Frame) -> Answer:
        from autoscorer import runtime
        from autoscorer.testing.examination import examine

        catalog = frame.resources.enter_context(runtime.open_catalog(frame.settings, warm=True))
        found = examine(
            catalog,
            catalog.find(scorer_name),
            workspace=Path(workspace) if workspace else None,
            params=chosen,
            other_host=lambda: runtime.open_catalog(frame.settings),
            on_contract=frame.on_stage,
        )
        return Answer(_data(found), lambda: _shown(found), exit_code=0 if found.passed else EXIT_FAILED)

    execute(context, work, as_json=as_json)


def _data(found: Examination) -> dict[str, Any]:
    return {
        "scorer": found.card.model_dump(mode="json", exclude={"example"}),
        "passed": found.passed,
        "result": found.result.to_json() if found.result else None,
        "contracts": [asdict(outcome) for outcome in found.outcomes],
    }


def _shown(found: Examination) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from autoscorer.commands._panels import pairs, printable, titled

    kept = [ended for ended in found.outcomes if ended.verdict == "kept"]
    parts: list[RenderableType] = [_list_of(found), ""]
    for ended in found.outcomes:
        if ended.verdict == "broken":
            parts += [Text(ended.contract, style="bold red"), Text(ended.about, style="dim")]
            parts += [Text(printable(ended.why)), Text(f"→ {ended.advice}", style="cyan"), ""]
    if found.result is not None:
        parts = [pairs(found.result.summary), "", *parts]
    title = f"{found.card.name} {found.card.version}: {len(kept)} of {len(found.outcomes)} contracts kept"
    return titled(title, Group(*parts[:-1]), colour="green" if found.passed else "red")


def _list_of(found: Examination) -> RenderableType:
    """One line a contract: kept and what it promises, or skipped and why; what is broken is told below."""
    from rich.table import Table
    from rich.text import Text

    from autoscorer.commands._panels import printable

    colours = {"kept": "green", "broken": "red", "skipped": "yellow"}
    rows = Table.grid(padding=(0, 2), expand=True)
    for width in (len("skipped"), max(len(ended.contract) for ended in found.outcomes)):
        rows.add_column(no_wrap=True, min_width=width)
    rows.add_column(no_wrap=True, overflow="ellipsis", style="dim", ratio=1)
    for ended in found.outcomes:
        told = ended.why if ended.verdict == "skipped" else ended.about
        mark = Text(str(ended.verdict), style=colours[ended.verdict])
        rows.add_row(mark, ended.contract, Text(printable(told)))
    return rows
