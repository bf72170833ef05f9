"""The measured rows as the page docs/BENCHMARKS.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import ModuleType

from benchmarks.harness import Row, machine, versions

HEAD = """# Benchmarks

Made by `make bench` from the modules in `benchmarks/`, a section each; `make bench GROUP=tables` measures one
anew. Unless it says otherwise a row times whole processes, from their start to their end: ours with its
checks, hashes and report. Both sides run in interleaved pairs; the ratio is the median over the pairs of our
time divided by the other's. Peak memory is the largest of all runs.
"""
TABLE = """
| work | against | ours | other | ratio | aim | met | peak memory |
|---|---|---|---|---|---|---|---|
"""
_SECTION = re.compile(r"^(?=## )", re.MULTILINE)


def section(group: ModuleType, rows: Sequence[Row]) -> str:
    """What was measured of one module, under its name and first line, with the machine that said so."""
    name = group.__name__.rpartition(".")[2]
    promise = str(group.__doc__).splitlines()[0]
    measured = ", ".join(f"{package} {version}" for package, version in versions().items())
    table = TABLE + "".join(line(row) for row in rows)
    return f"## {name}\n\n{promise}\n{table}\nMeasured on {machine()}, with {measured}.\n"


def page(kept: str, *, section: str) -> str:
    """The whole page: the sections of ``kept``, with ``section`` in the place of the one of its name."""
    sections = {part.splitlines()[0]: part.strip() for part in [*_SECTION.split(kept)[1:], section]}
    return "\n\n".join([HEAD.strip(), *(sections[name] for name in sorted(sections))]) + "\n"


def line(row: Row) -> str:
    """One row of the table, with its line end."""
    seen = row.comparison
    cells = (
        row.work,
        row.against,
        f"{seen.ours_s:.3g} s",
        f"{seen.other_s:.3g} s",
        ratio(seen.ratio),
        aim(row),
        ("yes" if row.is_met else "**no**") + (f", {row.note}" if row.note else ""),
        f"{megabytes(seen.ours_peak_bytes)} / {megabytes(seen.other_peak_bytes)}",
    )
    return f"| {' | '.join(cells)} |\n"


def aim(row: Row) -> str:
    """What was promised, empty if nothing was."""
    if row.most_s_more is not None:
        return f"at most {row.most_s_more:g} s more"
    if row.most_s is not None:
        return f"at most {row.most_s:g} s"
    return f"{ratio(row.aim)} or better" if row.aim is not None else ""


def ratio(value: float) -> str:
    """``1.93×`` when we take longer, ``1/62×`` when the other does."""
    return f"{value:.3g}×" if value >= 0.67 else f"1/{1 / value:.3g}×"


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.0f} MB"
