"""A new workspace made of another: its data copied, a `meta.json` of its own; whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from autoscorer.schemas.job import SpecFault, spec_error
from autoscorer.staging import home_around
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.errors import AutoscorerError, disk_full

_FOLDER_MODE = 0o750


def make_workspace(below: Path, spec: Mapping[str, Any], *, shown: Path, reference: Path, root: Path) -> Path:
    """A workspace in ``below`` with ``spec``; ``shown`` becomes its `input/`, ``reference`` its `reference/`.

    Bytes are copied, never links; a link among them must lead to a file of the same home below ``root``.
    Raises CONFIG_VALIDATION_ERROR for what cannot be copied, RESOURCE_UNAVAILABLE when the disk is full.
    """
    name = str(uuid4())
    unfinished = below / f".{name}"
    try:
        unfinished.mkdir(mode=_FOLDER_MODE, parents=True)
        for source, target in ((shown, "input"), (reference, "reference")):
            _copy(source, unfinished / target, root=root, home=home_around(below, root))
        (unfinished / "output").mkdir()
        text = json.dumps(spec, ensure_ascii=False, indent=2)
        (unfinished / "meta.json").write_text(text + "\n", encoding="utf-8")
        return unfinished.rename(below / name)
    except BaseException as exc:
        remove_tree(unfinished)
        if (full := _full_disk(exc)) is not None:
            raise full from exc
        raise


def _copy(source: Path, target: Path, *, root: Path, home: Path) -> None:
    if not source.is_dir():
        target.mkdir()
        return
    try:
        shutil.copytree(source, target, copy_function=shutil.copyfile, ignore=_refusing_links(root, home))
    except shutil.Error as exc:
        found = [SpecFault(f"{target.name}/", str(why)) for _from, _to, why in exc.args[0][:20]]
        raise spec_error(found, cause="workspace") from exc


def _refusing_links(root: Path, home: Path) -> Callable[[str, list[str]], set[str]]:
    def check(folder: str, names: list[str]) -> set[str]:
        for path in (Path(folder) / name for name in names):
            real = Path(os.path.realpath(path))
            if path.is_symlink() and not (_is_file_below(real, root) and home_around(real, root) == home):
                fault = SpecFault(path.name, "is a link that leads to no file in the organisation's folder")
                raise spec_error([fault], cause="workspace")
        return set()

    return check


def _is_file_below(path: Path, root: Path) -> bool:
    return path.is_relative_to(root) and path.is_file()


def _full_disk(exc: BaseException) -> AutoscorerError | None:
    """A full disk, also where `copytree` has put it among others as text."""
    cause = exc.__cause__ if isinstance(exc, AutoscorerError) else exc
    if isinstance(cause, shutil.Error):
        told = str(cause)
        cause = OSError(28, told) if "No space left" in told or "quota exceeded" in told else None
    return disk_full(cause) if cause is not None else None
