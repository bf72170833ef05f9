"""What the commands that load scorers have in common: options, the answer, how a failure is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoscorer.commands._frame import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from autoscorer.scorers.library import Loaded
    from autoscorer.scorers.library.index import Failure
    from autoscorer.utils.errors import AutoscorerError

FileOption = Annotated[
    str, typer.Option(metavar="FILE", help="A `.py` file, or a package folder with its helper modules.")
]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Take names that other scorers have, built-in ones too.")
]


def loaded_answer(loaded: Loaded) -> Answer:
    """The scorers that a load brought, with a warning for each name that changed hands or lost its code."""
    from autoscorer.commands._panels import table
    from autoscorer.schemas.envelope import Warning_

    cards = [card.model_dump(mode="json", exclude={"example"}) for card in loaded.cards]
    columns = ["name", "version", "aliases", "sha256"]
    taken = [f"{name} was the name of {who}" for name, who in loaded.replaced.items()]
    left = [
        f"{name} is not in the file any more; its last version goes on serving until it is unloaded"
        for name in loaded.left
    ]
    warnings = [Warning_(code="SCORER_REPLACED", message=text) for text in taken]
    warnings += [Warning_(code="SCORER_LEFT_BEHIND", message=text) for text in left]
    data = {"loaded": cards, "replaced": dict(loaded.replaced), "left": list(loaded.left)}
    rows = [[shortened(card[column]) for column in columns] for card in cards]
    return Answer(data, lambda: table(columns, rows), warnings=warnings)


def shortened(value: Any) -> Any:
    """A hash as people tell them apart; anything else as it is. The whole one is in the JSON."""
    is_hash = isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value)
    return f"{value[:12]}…" if is_hash else value


def failure_panels(failures: Mapping[str, Failure | AutoscorerError]) -> Iterator[RenderableType]:
    """One panel for each source (a file, or the entry point of a package) that could not be loaded."""
    from autoscorer.commands._panels import pairs, printable, titled

    for source, failure in failures.items():
        told = {"message": failure.message, "source": source, "at": getattr(failure, "at", "now")}
        yield titled(f"{printable(Path(source).name)} could not be loaded", pairs(told), colour="red")
