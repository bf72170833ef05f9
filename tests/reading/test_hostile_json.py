"""A small file costs little, however it is spoiled: time and memory grow with its size, not faster."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from autoscorer.reading.source import Role, Source
from autoscorer.reading.strict import strict_json
from autoscorer.utils.errors import AutoscorerError

SOURCE = Source(Role.PREDICTION, "output/pred.json", Path())


def refused_in(content: bytes) -> float:
    started = time.process_time()
    with pytest.raises(AutoscorerError):
        strict_json(content, SOURCE)
    return time.process_time() - started


@pytest.mark.parametrize(
    "make",
    [
        lambda n: b'[{"a":1,"a":1}, "' + b'\\"' * n,
        lambda n: b'[NaN, "' + b'\\"' * n,
        lambda n: b"[1e999, " + b'"' * n,
        lambda n: b'["' + b'\\"' * n + b'", NaN]',
    ],
    ids=["duplicate key", "NaN first", "quotes", "NaN last"],
)
def test_a_quarter_of_a_megabyte_of_quotes_is_refused_at_once(make: object) -> None:
    assert callable(make)
    assert refused_in(make(125_000)) < 2  # quadratic, 64 KB took 42 s


def test_a_long_string_is_not_copied_many_times() -> None:
    content = b'["' + b"x" * 5_000_000 + b'", NaN]'
    tracemalloc.start()
    refused_in(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * len(content)
