"""The command line as a user calls it: a process of its own, its answer, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Called:
    """How one call ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def answer(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.stdout)
        return value

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.answer["error"]
        return found


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without settings of its own."""
    return {key: value for key, value in os.environ.items() if not key.startswith("AUTOSCORER")} | changes


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "autoscorer.cli", *map(str, arguments)]


def call(*arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Called:
    """Run ``autoscorer ARGUMENTS``; a traceback on either stream is always a failure."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(**(env or {})),
        cwd=cwd,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return Called(done.returncode, done.stdout, done.stderr)
