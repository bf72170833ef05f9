"""Who still needs which content: one small file for each job that names one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from autoscorer.utils.artifacts import write_json


class Pins:
    """Pins by holder. They outlive processes; who sets one takes it away."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "pins"

    def put(self, holder: str, name: str, sha256: str) -> None:
        """``holder`` needs this content from now on, instead of any it needed before."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        write_json(self._path(holder), {"holder": holder, "scorer": name, "sha256": sha256})

    def remove(self, holder: str) -> None:
        """``holder`` needs nothing more. Safe to call twice."""
        self._path(holder).unlink(missing_ok=True)

    def contents(self) -> frozenset[str]:
        """Every content that somebody needs."""
        return frozenset(self._read())

    def _read(self) -> Iterator[str]:
        for path in self._folder.glob("*.json"):
            try:
                yield json.loads(path.read_bytes())["sha256"]
            except FileNotFoundError:
                continue  # just taken away

    def _path(self, holder: str) -> Path:
        return self._folder / f"{hashlib.sha256(holder.encode()).hexdigest()}.json"
