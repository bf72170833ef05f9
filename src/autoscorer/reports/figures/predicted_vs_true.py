"""Predicted against true values as points, and how the residuals are spread."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from autoscorer.reports.canvas import BLUE, GREY, ORANGE, set_titles
from autoscorer.reports.drawn_table import DrawnTable, UndrawableError

BINS = 40


def draw(table: DrawnTable) -> Figure:
    pairs = zip(table.numbers("truth"), table.numbers("predicted"), strict=True)
    drawable = [pair for pair in pairs if None not in pair]
    if not drawable:
        raise UndrawableError("it has no numbers that an axis can show")
    true, predicted = np.array(drawable, dtype=np.float64).T
    figure = Figure(figsize=(9.5, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1.0])
    _draw_points(left, true, predicted)
    set_titles(left, "Predicted against true", f"{table.of_how_many('rows')}; exact on the line")
    _draw_residuals(right, predicted - true)
    return figure


def _draw_points(axes: Axes, true: NDArray[np.float64], predicted: NDArray[np.float64]) -> None:
    low, high = (float(bound) for bound in _padded(np.concatenate([true, predicted])))
    axes.plot([low, high], [low, high], color=GREY, linewidth=1.2, zorder=2)
    axes.scatter(true, predicted, s=12, color=BLUE, alpha=0.45, linewidth=0, zorder=3)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_box_aspect(1)
    axes.set_xlabel("truth")
    axes.set_ylabel("predicted")


def _draw_residuals(axes: Axes, residuals: NDArray[np.float64]) -> None:
    median = float(np.median(residuals))
    axes.hist(residuals, bins=BINS, range=_padded(residuals), color=BLUE, alpha=0.85)
    axes.axvline(0.0, color=GREY, linewidth=1.2)
    axes.axvline(median, color=ORANGE, linewidth=1.8, label=f"median {median:.4g}")
    axes.set_xlabel("predicted − truth")
    axes.set_ylabel("rows")
    set_titles(axes, "Residuals", "right of zero the prediction is too high")
    axes.legend(loc="upper left" if median > (residuals.min() + residuals.max()) / 2 else "upper right")


def _padded(values: NDArray[np.float64]) -> tuple[float, float]:
    """The values' range and a little more; never so narrow that floats run out between its ends."""
    low, high = float(values.min()), float(values.max())
    pad = max((high - low) * 0.04, 1e-6 * max(abs(low), abs(high)), 1e-100)
    return low - pad, high + pad
