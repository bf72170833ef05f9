"""The confusion matrix as a heat map: each row's share in colour, the counts where they can be read."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from autoscorer.reports.canvas import INK, new_figure, set_titles
from autoscorer.reports.drawn_table import DrawnTable, UndrawableError, as_count, short_count

MOST_LABELS = 60
MOST_LABELS_WITH_COUNTS = 20


def draw(table: DrawnTable) -> Figure:
    names = table.texts(table.header[0])
    n = len(names)
    if n != len(table.header) - 1 or n > MOST_LABELS:
        raise UndrawableError(f"it is not square or has more than {MOST_LABELS} labels")
    # By position: two labels that are cut to the same text are two columns all the same.
    counts = np.array([[as_count(text) for text in row[1:]] for row in table.rows])
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side = min(3.2 + 0.42 * n, 12.0)
    figure, axes = new_figure(side + 1.0, side, is_square=True)
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    size = 9 if n <= 12 else 7 if n <= 30 else 5
    headings = [table.shown(name) for name in table.header[1:]]
    fits = n <= 8 and max(map(len, headings)) <= 9
    axes.set_xticks(range(n), headings)
    if not fits:
        for label in axes.get_xticklabels():
            label.set(rotation=90 if n > 12 else 45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n), names)
    axes.tick_params(labelsize=size, length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    set_titles(axes, "Confusion matrix", f"{short_count(counts.sum())} rows; colour: share of the true label")
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, aspect=30)
    bar.outline.set_visible(False)
    if n <= MOST_LABELS_WITH_COUNTS:
        _write_counts(axes, counts, shares, size=size - 1)
    return figure


def _write_counts(axes: Axes, counts: NDArray[np.float64], shares: NDArray[np.float64], *, size: int) -> None:
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.55 else INK
        text = short_count(counts[row, column])
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
