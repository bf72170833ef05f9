"""How long a command takes that does nothing yet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, compare


def rows() -> Iterator[Row]:
    autoscorer = str(Path(sys.executable).with_name("autoscorer"))
    comparison = compare([autoscorer, "--help"], [sys.executable, "-c", "pass"], pairs=15)
    yield Row(work="`autoscorer --help`", against="`python -c pass`", comparison=comparison, aim=8.0)
