"""How our pictures look and come to be: style, fonts, the same bytes for the same table. Needs matplotlib."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoscorer.reports.drawn_table import DrawnTable

BLUE, ORANGE, GREY, INK, PALE = "#2b6cb0", "#dd7a1e", "#8b929c", "#22272e", "#e8ebef"
DPI = 150
BASE_FONT = "DejaVu Sans"  # ships with matplotlib
MOST_FONTS_TRIED = 500
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlepad": 12,
    "figure.facecolor": "white",
    "font.size": 9,
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.12,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.9,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    # Labels are a participant's text: `$…$` is no formula to us.
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
}
# matplotlib's settings are the process's own.
_ONE_AT_A_TIME = threading.Lock()


def png(draw: Callable[[DrawnTable], Figure], table: DrawnTable) -> bytes:
    """The figure as PNG: no date, no name of a program, nobody's settings; one at a time in a process.

    Characters that DejaVu Sans lacks come from the installed font that has most of them, else they
    become escapes.
    """
    with _ONE_AT_A_TIME, _our_style():
        font = _font_with(frozenset(map(ord, table.characters())) - _characters_of(_base_path()))
        has = _characters_of(_base_path()) | (_characters_of(font.fname) if font else frozenset())
        mpl.rcParams["font.family"] = [BASE_FONT, font.name] if font else [BASE_FONT]
        figure = draw(replace(table, legible=lambda char: char.isprintable() and ord(char) in has))
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    return content.getvalue()


def new_figure(width_in: float, height_in: float, *, is_square: bool = False) -> tuple[Figure, Axes]:
    """A figure of one plot, in inches; a square plot keeps what stands beside it close."""
    figure = Figure(figsize=(width_in, height_in), layout="compressed" if is_square else "constrained")
    return figure, figure.add_subplot()


def set_titles(axes: Axes, title: str, below: str) -> None:
    """A title, and a quiet line below it: words of ours, so in a font that has them bold."""
    axes.set_title(title, pad=18, family=BASE_FONT)
    axes.annotate(
        below, (0, 1), (0, 4), "axes fraction", "offset points", color=GREY, fontsize=8, va="bottom"
    )


@contextmanager
def _our_style() -> Iterator[None]:
    with mpl.rc_context():
        mpl.rcdefaults()  # not what a matplotlibrc in the working directory says
        mpl.rcParams.update(_STYLE)
        yield


@lru_cache(maxsize=64)
def _font_with(wanted: frozenset[int]) -> font_manager.FontEntry | None:
    """The installed font that has most of these characters, None if none has any; the same every time."""
    regular = (font for font in font_manager.fontManager.ttflist if font.style == "normal")
    ordered = sorted(regular, key=lambda font: (abs(_weight(font) - 400), font.name, font.fname))
    best, most = None, 0
    for font in ordered[:MOST_FONTS_TRIED] if wanted else ():
        found = 0 if font.name.startswith("Last Resort") else len(wanted & _characters_of(font.fname))
        if found > most:
            best, most = font, found
    return best


def _weight(font: font_manager.FontEntry) -> int:
    return font.weight if isinstance(font.weight, int) else font_manager.weight_dict.get(font.weight, 400)


@lru_cache(maxsize=8)
def _characters_of(path: str) -> frozenset[int]:
    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError):  # a font that was removed, or that FreeType cannot read
        return frozenset()


@lru_cache(maxsize=1)
def _base_path() -> str:
    return str(font_manager.findfont(BASE_FONT))
