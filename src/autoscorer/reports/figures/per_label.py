"""F1 of each label as a bar, its precision and recall as marks."""

from __future__ import annotations

from matplotlib.figure import Figure

from autoscorer.reports.bars import Bars, draw_bars
from autoscorer.reports.drawn_table import DrawnTable

BARS = Bars(
    title="F1 by label",
    names="label",
    bar="f1",
    bar_label="F1",
    marks={"precision": "precision", "recall": "recall"},
    occurrences="support",
    what="labels",
)


def draw(table: DrawnTable) -> Figure:
    return draw_bars(table, BARS)
