"""One delivered file: its role, its name in messages, its bytes, and whose fault a fault in it is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from autoscorer.utils.artifacts import open_regular
from autoscorer.utils.errors import AutoscorerError

VIEW_MARKER = ".view.json"


class Role(StrEnum):
    """Which side of the comparison a file is; the value is the error table's cause."""

    REFERENCE = "reference"
    PREDICTION = "prediction"


@dataclass(frozen=True)
class Source:
    """A file to read. ``name`` is what messages show (``output/pred.csv``), never a host path."""

    role: Role
    name: str
    path: Path
    follow_links: bool = False

    def check(self) -> None:
        """Raise as `read` does if this is no file to read."""
        os.close(self._open())

    def read(self) -> bytes:
        """The whole content. A prediction that is a link, pipe, folder or device is BAD_FORMAT."""
        with os.fdopen(self._open(), "rb", buffering=0) as file:
            return file.readall()

    def _open(self) -> int:
        links = self.follow_links or self.role is Role.REFERENCE
        try:
            return open_regular(self.path, follow_links=links)
        except FileNotFoundError:
            raise self.fault("MISSING_FILE", f"{self.name} does not exist") from None
        except OSError as exc:
            why = f"{self.name} is not a readable regular file ({exc.strerror})"
            raise self.fault("BAD_FORMAT", why) from exc

    def fault(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> AutoscorerError:
        """The error to raise for a fault in this file, blamed on the side that delivered it."""
        return AutoscorerError(code, message, {"file": self.name, **(details or {})}, cause=self.role)


def view_names(workspace: Path) -> dict[str, str] | None:
    """What files are called in messages, in a folder that the platform laid out; None in any other.

    Links in such a folder are the platform's own. The marker stands beside `output/`, where no
    participant writes.
    """
    try:
        names: dict[str, str] = json.loads((workspace / VIEW_MARKER).read_bytes())
    except FileNotFoundError:
        return None
    return names


def find_source(workspace: Path, role: Role, filenames: Sequence[str]) -> Source:
    """The file of ``role`` in ``workspace`` under one of ``filenames``.

    The reference is looked for in ``reference/`` and then in ``input/``; the prediction in ``output/``.
    Raises AutoscorerError: MISSING_FILE when there is none, BAD_FORMAT when there are several.
    """
    folders = ("reference", "input") if role is Role.REFERENCE else ("output",)
    for folder in folders:
        found = [name for name in filenames if os.path.lexists(workspace / folder / name)]
        if len(found) > 1:
            names = " and ".join(f"{folder}/{name}" for name in found)
            raise AutoscorerError("BAD_FORMAT", f"{names} both exist: deliver one of them", {}, cause=role)
        if found:
            name = f"{folder}/{found[0]}"
            shown = view_names(workspace)
            return Source(role, (shown or {}).get(name, name), workspace / name, shown is not None)
    expected = [f"{folders[0]}/{name}" for name in filenames]
    what = "reference" if role is Role.REFERENCE else "prediction"
    raise AutoscorerError(
        "MISSING_FILE",
        f"no {what} file: expected {' or '.join(expected)}",
        {"expected": expected},
        cause=role,
    )
