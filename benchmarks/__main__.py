"""Run the benchmarks: `python -m benchmarks` writes docs/BENCHMARKS.md, `… tables` only prints those rows."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import benchmarks
from benchmarks import report
from benchmarks.harness import Row

PAGE = Path(__file__).resolve().parent.parent / "docs" / "BENCHMARKS.md"


def main(names: Sequence[str]) -> None:
    """Measure and write the page. An aim that is missed stands in the page; it is no failure."""
    rows = []
    for row in measured(names):
        print(report.line(row), end="", flush=True)
        rows.append(row)
    if not names:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(report.page(rows), encoding="utf-8")


def measured(names: Sequence[str]) -> Iterator[Row]:
    """The rows of the modules called ``names``, of all that have rows when there are none."""
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if (names and module.name not in names) or module.name == "__main__":
            continue
        rows = getattr(importlib.import_module(f"benchmarks.{module.name}"), "rows", None)
        if rows is not None:
            yield from rows()


if __name__ == "__main__":
    main(sys.argv[1:])
