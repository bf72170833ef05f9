"""The example a scorer brings along: laid out as files to score, and compared with what was expected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from autoscorer.schemas.result import Result
from autoscorer.schemas.scorer import Example

TOLERANCE = 1e-9


def lay_out(example: Example, root: Path) -> Path:
    """Write the example's files below the new folder ``root``, as a scorer expects them; returns it."""
    folders = {"reference": example.reference, "output": example.predictions}
    return write_files(root, {folder: encoded(texts) for folder, texts in folders.items()})


def write_files(root: Path, folders: Mapping[str, Mapping[str, bytes]]) -> Path:
    """Write ``{folder: {file name: content}}`` below the new folder ``root``; returns it."""
    for folder, files in folders.items():
        (root / folder).mkdir(parents=True)
        for name, content in files.items():
            (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (root / folder / name).write_bytes(content)
    return root


def encoded(texts: Mapping[str, str]) -> dict[str, bytes]:
    """Texts by name as the bytes of files."""
    return {name: text.encode() for name, text in texts.items()}


def differences(example: Example, result: Result) -> list[str]:
    """Where ``result`` is not what the example expects, a sentence each; empty if it is."""
    told = []
    for name, expected in example.metrics.items():
        found = result.metrics.get(name)
        if found is None:
            told.append(f"{name} is {expected!r} in the example and missing in the result")
        elif not math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            told.append(f"{name} is {expected!r} in the example and {found!r} in the result")
    return told
