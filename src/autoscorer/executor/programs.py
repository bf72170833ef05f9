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
        with suppress(OSError):
            for path in sorted(self._folder.iterdir()):
                supervisor, owner = _read(path)
                if is_alive(owner) if owner else time.time() - path.stat().st_mtime < HALF_WRITTEN_S:
                    continue
                # Exactly that process: a pid is given out again, and counts in its own namespace only.
                if supervisor is not None and Owner.of_process(supervisor.pid) == supervisor:
                    os.kill(supervisor.pid, signal.SIGKILL)
                    yield Reaped(kind="program", name=path.stem)
                path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[Owner | None, Owner | None]:
    try:
        record = json.loads(path.read_bytes())
        return Owner.parse(str(record["supervisor"])), Owner.parse(str(record["owner"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
