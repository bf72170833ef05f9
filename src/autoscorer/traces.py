"""What the workers of this machine have in hand, a small file each, so that what a dead one left is found."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autoscorer.executor.ownership import Owner, process_is_alive

FOLDER = "working"
_PART = ".part"


@dataclass(frozen=True, kw_only=True)
class Trace:
    """An attempt at a job. ``owner`` carries its lease; ``workspace`` is a folder of this machine."""

    task_id: str
    attempt: int
    owner: Owner
    workspace: Path

    @property
    def name(self) -> str:
        return f"{self.task_id}.{self.attempt}.json"


class Traces:
    """The folder of them. One that cannot be written is no reason to refuse a job: it only is found later."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER

    def write(self, trace: Trace) -> None:
        """Note that the attempt begins."""
        with suppress(OSError):
            record = {
                "task_id": trace.task_id,
                "attempt": trace.attempt,
                "owner": str(trace.owner),
                "workspace": os.fspath(trace.workspace),
            }
            # Under a name that tells whose it is: of a process that is killed just now, it is swept.
            part = self._folder / f".{trace.owner.pid}-{trace.owner.started_ticks}-{trace.name}{_PART}"
            content = json.dumps(record).encode()
            try:
                part.write_bytes(content)
            except FileNotFoundError:  # it is the first
                self._folder.mkdir(parents=True, exist_ok=True)
                part.write_bytes(content)
            part.replace(self._folder / trace.name)

    def cross_out(self, trace: Trace) -> None:
        """Note that nothing of it is left. Safe to call twice."""
        with suppress(OSError):
            (self._folder / trace.name).unlink(missing_ok=True)

    def all(self) -> Iterator[Trace]:
        """What is noted; a file that is not ours or not whole is passed over."""
        with suppress(OSError):
            for path in sorted(self._folder.glob("*.json")):
                trace = _read(path)
                if trace is not None:
                    yield trace

    def sweep(self) -> None:
        """Remove what was half written by processes that are gone."""
        with suppress(OSError, ValueError):
            for path in self._folder.glob(f".*{_PART}"):
                pid, ticks, _ = path.name.removeprefix(".").split("-", 2)
                space = Owner.this_process().space
                if not process_is_alive(Owner(space=space, pid=int(pid), started_ticks=int(ticks))):
                    path.unlink(missing_ok=True)


def _read(path: Path) -> Trace | None:
    try:
        record = json.loads(path.read_bytes())
        owner = Owner.parse(str(record["owner"]))
        trace = Trace(
            task_id=str(record["task_id"]),
            attempt=int(record["attempt"]),
            owner=owner or Owner.this_process(),
            workspace=Path(record["workspace"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return trace if owner and trace.name == path.name else None
