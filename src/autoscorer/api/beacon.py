"""A note where a `serve` of this user runs, so that the commands beside it find its token and its root."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autoscorer.executor.ownership import Owner, process_is_alive
from autoscorer.utils.artifacts import atomic_writer

FOLDER = Path("~/.local/state/autoscorer/serving")
_MAX_BYTES = 64 * 2**10


@dataclass(frozen=True, kw_only=True)
class Beacon:
    """A service of this user on this machine: where it listens, what its token and its root are."""

    url: str
    token_path: Path
    workspace_root: Path


@contextmanager
def lit(beacon: Beacon, *, folder: Path | None = None) -> Iterator[None]:
    """Have the note lie there as long as the block lasts. Where none can be written there is none."""
    written: Path | None = None
    with suppress(OSError, RuntimeError):  # no home, no room: the settings still say all of it
        path = _path(folder or FOLDER, beacon.url)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        note = {
            "url": beacon.url,
            "token_path": str(beacon.token_path),
            "workspace_root": str(beacon.workspace_root),
            "owner": str(Owner.this_process()),
        }
        with atomic_writer(path, mode=0o600) as file:
            file.write(json.dumps(note).encode())
        written = path
    try:
        yield
    finally:
        if written is not None:
            written.unlink(missing_ok=True)


def seen(url: str, *, folder: Path | None = None) -> Beacon | None:
    """The service at ``url``, if it is this user's, on this machine, and alive."""
    try:
        note = _read(_path(folder or FOLDER, url))
        owner = Owner.parse(note["owner"])
        beacon = Beacon(
            url=note["url"],
            token_path=Path(note["token_path"]),
            workspace_root=Path(note["workspace_root"]),
        )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return beacon if owner is not None and process_is_alive(owner) else None


def _path(folder: Path, url: str) -> Path:
    """One note a port: a port of this machine has one listener that matters to us."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return folder.expanduser() / f"{port}.json"


def _read(path: Path) -> dict[str, Any]:
    """Raises OSError or ValueError for what is not there, not ours alone to write, or no note."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ValueError("others can write it")
        note: dict[str, Any] = json.loads(file.read(_MAX_BYTES))
    return note
