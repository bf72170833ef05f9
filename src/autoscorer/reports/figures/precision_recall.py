"""Precision against recall, one line for each IoU threshold; 0.50 and 0.75 stand out."""

from __future__ import annotations

from collections import defaultdict

from matplotlib.figure import Figure

from autoscorer.reports.canvas import BLUE, GREY, ORANGE, new_figure, set_titles
from autoscorer.reports.drawn_table import DrawnTable, UndrawableError

OUTSTANDING = {0.5: BLUE, 0.75: ORANGE}
MOST_CURVES = 20


def draw(table: DrawnTable) -> Figure:
    curves: dict[float, list[tuple[float, float]]] = defaultdict(list)
    columns = (table.numbers(name) for name in ("iou", "recall", "precision"))
    for iou, recall, precision in zip(*columns, strict=True):
        if all(value is not None and 0 <= value <= 1 for value in (iou, recall, precision)):
            curves[iou].append((recall, precision))
    if not 0 < len(curves) <= MOST_CURVES:
        raise UndrawableError(f"it has no points or more than {MOST_CURVES} IoU thresholds")
    outstanding = {iou: OUTSTANDING[iou] for iou in curves if iou in OUTSTANDING} or {min(curves): BLUE}
    figure, axes = new_figure(6.5, 5.0)
    for iou, points in sorted(curves.items()):
        recalls, precisions = zip(*points, strict=True)
        stands_out = iou in outstanding
        mean = sum(precisions) / len(precisions)
        axes.plot(
            recalls,
            precisions,
            color=outstanding.get(iou, GREY),
            linewidth=2.2 if stands_out else 0.9,
            alpha=1.0 if stands_out else 0.55,
            zorder=3 if stands_out else 2,
            label=f"IoU {iou:.2f}: average {mean:.3f}" if stands_out else None,
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    low, high = min(curves), max(curves)
    span = f"IoU {low:.2f}" if low == high else f"grey: the other thresholds from IoU {low:.2f} to {high:.2f}"
    set_titles(axes, "Precision and recall", f"mean over categories; {span}")
    axes.legend(loc="lower left")
    return figure
