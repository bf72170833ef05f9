"""Where the examples are, and one run of each program per test session."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/meta.json"))
TABLE_NAMES = [name for name in NAMES if (EXAMPLES / name / "reference/gt.csv").exists()]

RunProgram = Callable[[str], Path]


@pytest.fixture(scope="session")
def run_program(tmp_path_factory: pytest.TempPathFactory) -> RunProgram:
    """A function that runs an example's program once and returns the output folder.

    The program gets a copy with input/ and meta.json only: no truth to read, no predictions to reuse,
    and nothing but the standard library (-I -S).
    """
    finished: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in finished:
            workspace = tmp_path_factory.mktemp(name)
            shutil.copytree(EXAMPLES / name / "input", workspace / "input")
            shutil.copy(EXAMPLES / name / "meta.json", workspace)
            (workspace / "output").mkdir()
            command = [sys.executable, "-I", "-S", "input/predict.py"]
            subprocess.run(command, cwd=workspace, check=True, timeout=60, env={})
            finished[name] = workspace / "output"
        return finished[name]

    return run
