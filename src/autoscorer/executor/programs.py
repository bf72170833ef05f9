"""Programs of the local backend that run under a lease, so that one whose lease is gone can be ended.

A program ends with the process that started it. But that one may only be asleep, and its deadline with it.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from autoscorer.executor.base import IsAlive, Reaped
from autoscorer.executor.ownership import Owner
from autoscorer.utils.artifacts import write_json

FOLDER = "programs"
HALF_WRITTEN_S = 60.0


class Programs:
    """One small file each, named after the supervisor's process."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER

    def note(self, supervisor_pid: int, owner: Owner) -> Path | None:
        """Write down whose program it is. Where that cannot be, the program is only found by its process."""
        supervisor = Owner.of_process(supervisor_pid)
        path = self._folder / f"{supervisor_pid}.json"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(path, {"supervisor": str(supervisor), "owner": str(owner)})
        except OSError:
            return None
        return path

    def cross_out(self, noted: Path | None) -> None:
        """It has ended."""
        if noted is not None:
            with suppress(OSError):
                noted.unlink(missing_ok=True)

    def end(self, is_alive: IsAlive) -> Iterator[Reaped]:
        """End the programs whose owner is not alive, and tell of them."""
        for path in sorted(self._noted()):
            with suppress(OSError):  # one that goes meanwhile, alone
                if self._is_over(path, is_alive):
                    yield Reaped(kind="program", name=path.stem)

    def _noted(self) -> list[Path]:
        try:
            return list(self._folder.iterdir())
        except OSError:
            return []

    def _is_over(self, path: Path, is_alive: IsAlive) -> bool:
        """Whether there was a program to end; the note of one that nobody looks after is gone then."""
        supervisor, owner = _read(path)
        if is_alive(owner) if owner else time.time() - path.stat().st_mtime < HALF_WRITTEN_S:
            return False
        # Exactly that process: a pid is given out again, and counts in its own namespace only.
        runs = supervisor is not None and Owner.of_process(supervisor.pid) == supervisor
        if supervisor is not None and runs:
            os.kill(supervisor.pid, signal.SIGKILL)
        path.unlink(missing_ok=True)
        return runs


def _read(path: Path) -> tuple[Owner | None, Owner | None]:
    try:
        record = json.loads(path.read_bytes())
        return Owner.parse(str(record["supervisor"])), Owner.parse(str(record["owner"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
