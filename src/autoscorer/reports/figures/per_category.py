"""Average precision of each category as a bar, that at IoU 0.50 and at 0.75 as marks."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from autoscorer.reports.bars import Bars, draw_bars
from autoscorer.reports.drawn_table import DrawnTable

BARS = Bars(
    title="Average precision by category",
    names="category",
    bar="AP",
    bar_label="AP",
    marks={"AP_50": "at IoU 0.50", "AP_75": "at IoU 0.75"},
    occurrences="true_boxes",
    what="categories",
)


def draw(table: DrawnTable) -> Figure:
    there = {name: label for name, label in BARS.marks.items() if name in table.header}
    return draw_bars(table, replace(BARS, marks=there))
