"""The examples' data come from the named data sets, and they stay small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES, NAMES


@pytest.mark.slow
def test_make_data_writes_the_committed_files_again(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(EXAMPLES / "make_data.py"), str(tmp_path)], check=True, timeout=120)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.parts[0] for path in made} == set(NAMES)
    assert not [
        str(path) for path in made if (tmp_path / path).read_bytes() != (EXAMPLES / path).read_bytes()
    ]


def test_the_examples_stay_under_one_and_a_half_megabytes() -> None:
    ours = [EXAMPLES / name / part for name in NAMES for part in ("input", "reference")]
    assert sum(path.stat().st_size for folder in ours for path in folder.rglob("*")) < 1_500_000
