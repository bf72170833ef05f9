"""One bar a label or category, with further numbers of the same scale as marks upon it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from autoscorer.reports.canvas import BLUE, INK, ORANGE, new_figure, set_titles
from autoscorer.reports.drawn_table import DrawnTable, UndrawableError, short_count

MOST_BARS = 40
_MARKS = (("o", INK), ("D", ORANGE))


@dataclass(frozen=True, kw_only=True)
class Bars:
    """What to draw of a table: the columns of names, bar, marks, and of how often each name occurs."""

    title: str
    names: str
    bar: str
    bar_label: str
    marks: Mapping[str, str]
    occurrences: str
    what: str


def draw_bars(table: DrawnTable, bars: Bars) -> Figure:
    """The longest bar at the top; of more than 40 those that occur most often."""
    values, occurrences = table.numbers(bars.bar), table.counts(bars.occurrences)
    defined = [row for row, value in enumerate(values) if value is not None and 0 <= value <= 1]
    if not defined:
        raise UndrawableError(f"{bars.bar} is nowhere a number between 0 and 1")
    shown = sorted(defined, key=lambda row: (-occurrences[row], row))[:MOST_BARS]
    shown.sort(key=lambda row: (values[row], -row))
    names = table.texts(bars.names)
    figure, axes = new_figure(7.5, 1.9 + 0.26 * len(shown))
    axes.barh(range(len(shown)), _at(values, shown), color=BLUE, height=0.62, label=bars.bar_label)
    for (column, label), (marker, colour) in zip(bars.marks.items(), _MARKS, strict=False):
        marks = _at(table.numbers(column), shown)
        axes.scatter(
            marks,
            range(len(shown)),
            marker=marker,
            s=22,
            color=colour,
            edgecolor="white",
            linewidth=0.8,
            zorder=3,
            label=label,
        )
    axes.set_yticks(range(len(shown)), [f"{names[row]}  ({short_count(occurrences[row])})" for row in shown])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    n_all = max(table.rows_in_all, len(table.rows))
    part = f"the {len(shown)} most frequent of {n_all:,}" if len(shown) < n_all else f"{len(shown)}"
    set_titles(axes, bars.title, f"{part} {bars.what}; in brackets how often each stands in the truth")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35 / (0.3 * len(shown) + 0.5)), ncols=3)
    return figure


def _at(values: Sequence[float | None], rows: Sequence[int]) -> list[float]:
    return [float("nan") if values[row] is None else float(values[row] or 0.0) for row in rows]
