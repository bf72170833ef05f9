"""Run the benchmarks: `python -m benchmarks` writes docs/BENCHMARKS.md, `… tables` that group of it anew."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks import report

PAGE = Path(__file__).resolve().parent.parent / "docs" / "BENCHMARKS.md"


def main(names: Sequence[str]) -> None:
    """Measure and write the page. An aim that is missed stands in the page; it is no failure."""
    groups = [group for group in all_groups() if not names or group.__name__.rpartition(".")[2] in names]
    kept = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    for group in groups:
        rows = []
        for row in group.rows():
            print(report.line(row), end="", flush=True)
            rows.append(row)
        if rows:  # else something is missing here, and what was measured elsewhere stays
            kept = report.page(kept, section=report.section(group, rows))
    PAGE.write_text(kept, encoding="utf-8")


def all_groups() -> Iterator[Any]:
    """The modules that have rows."""
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name != "__main__":
            found = importlib.import_module(f"benchmarks.{module.name}")
            if hasattr(found, "rows"):
                yield found


if __name__ == "__main__":
    main(sys.argv[1:])
