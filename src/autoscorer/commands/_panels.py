"""What a person sees on a terminal: results, errors, warnings."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from autoscorer.utils.errors import find_code

if TYPE_CHECKING:
    from autoscorer.schemas.envelope import Warning_
    from autoscorer.schemas.result import Result
    from autoscorer.utils.errors import AutoscorerError

MAX_ROWS = 24
_PARTICULARS = ("file", "path", "line", "index", "expected", "example", "offenders")


def show(panel: RenderableType, warnings: Sequence[Warning_]) -> None:
    """Print a panel and the warnings below it."""
    console = Console()
    console.print(panel, crop=False)  # a command to be copied may be longer than the screen
    for warning in warnings:
        console.print(f"[yellow]⚠ {warning.code}[/] {escape(printable(warning.message))}")


def pairs(rows: Mapping[str, Any]) -> Table:
    """Two quiet columns: name and value."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        is_size = name.endswith("_bytes") and isinstance(value, int)
        shown = size_text(value) if is_size else _text(value)
        table.add_row(escape(printable(name.removesuffix("_bytes") if is_size else name)), escape(shown))
    return table


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A plain table with a heading."""
    made = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column == "id")  # an id is there to be copied
    for row in rows:
        made.add_row(*(value if isinstance(value, Text) else escape(_text(value)) for value in row))
    return made


def titled(title: str, body: RenderableType, *, colour: str = "cyan") -> Panel:
    return Panel(
        body, title=f"[bold]{escape(title)}[/]", title_align="left", border_style=colour, padding=(1, 2)
    )


def result_panel(result: Result, where: str) -> Panel:
    """A score: the headline first, then every metric, then what it took."""
    head = Table.grid(padding=(0, 3))
    for name, value in result.summary.items():
        head.add_row(Text(printable(name), style="bold"), Text(_text(value), style="bold green"))
    metrics = dict(list(result.metrics.items())[:MAX_ROWS])
    more = len(result.metrics) - len(metrics)
    parts: list[RenderableType] = [head, Text(), pairs(metrics)]
    if more > 0:
        parts.append(Text(f"… and {more} more in result.json", style="dim"))
    parts += [Text(), pairs(_facts(result, where))]
    return titled(
        f"{result.versioning['scorer']} {result.versioning['version']}", Group(*parts), colour="green"
    )


def _facts(result: Result, where: str) -> dict[str, str]:
    seconds = {key.removesuffix("_seconds"): value for key, value in result.timing.items()}
    facts = {"time": "  ".join(f"{name} {value:.3f} s" for name, value in seconds.items())}
    peak = result.resources.get("peak_memory_bytes")
    cpu = result.resources.get("cpu_seconds")
    if peak is not None:
        facts["memory"] = f"{size_text(peak)} at most"
    if cpu is not None:
        facts["cpu"] = f"{cpu:.2f} s"
    facts["digest"] = result.versioning.get("score_digest", "")
    if result.artifacts:
        facts["artifacts"] = ", ".join(artifact.path for artifact in result.artifacts.values())
    return facts | ({"result": where} if where else {})


def error_panel(error: AutoscorerError) -> Panel:
    """A failure: what was wrong, where, whose fault, what to do (in both languages)."""
    row = find_code(error.code, error.cause)
    parts: list[RenderableType] = [Text(printable(error.message)), Text()]
    shown: dict[str, Any] = {key: error.details[key] for key in _PARTICULARS if key in error.details}
    parts.append(pairs({"stage": str(error.stage), "fault of": str(error.blame), **shown}))
    if tail := error.details.get("stderr_tail"):
        parts += [Text(), Text("last lines of stderr", style="dim"), Text(printable(str(tail)))]
    if row is not None:
        parts += [Text(), Text(f"→ {row.hint_en}", style="cyan"), Text(f"→ {row.hint_zh}", style="cyan")]
    return titled(error.code, Group(*parts), colour="red")


def size_text(size_bytes: float) -> str:
    """A size for people: ``512 MiB``."""
    for unit in ("bytes", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.4g} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.4g} GiB"


def printable(text: str) -> str:
    """``text`` without what could drive a terminal: names and labels are the participant's."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char)[0] != "C" else ascii(char)[1:-1] for char in text
    )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return printable(str(value))
