"""A new workspace made of another: its data copied, a `meta.json` of its own; whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from autoscorer.harvest import RESERVED
from autoscorer.schemas.job import SpecFault, spec_error
from autoscorer.staging import home_around
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.errors import AutoscorerError, disk_full
from autoscorer.workspace import Workspace

IMAGES = ("image.tar", "image.tar.gz")
_FOLDER_MODE = 0o750


def make_workspace(
    below: Path,
    spec: Mapping[str, Any],
    *,
    shown: Path,
    reference: Path,
    root: Path,
    delivered: Mapping[str, Path] | None = None,
) -> Path:
    """A workspace in ``below`` with ``spec``; ``shown`` becomes its `input/`, ``reference`` its `reference/`.

    ``delivered`` are files that come along, each under its name in the workspace.

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
        for path, source_file in (delivered or {}).items():
            (unfinished / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source_file, unfinished / path)
        text = json.dumps(spec, ensure_ascii=False, indent=2)
        (unfinished / "meta.json").write_text(text + "\n", encoding="utf-8")
        return unfinished.rename(below / name)
    except BaseException as exc:  # clean-up: no half of a workspace stays, whatever stopped it
        remove_tree(unfinished)
        if (full := _full_disk(exc)) is not None:
            raise full from exc
        raise


def delivered_files(workspace: Workspace, output: Path, into: Path) -> dict[str, Path]:
    """What a submission holds besides its base's data: predictions, to lie in ``into``, and image archives.

    Plain files only: no links, nothing that is the platform's. ``output`` and ``into`` lie in ``workspace``.
    """
    files = {name: workspace.root / name for name in IMAGES}
    target = into.relative_to(workspace.root)
    for folder, folders, names in os.walk(output):
        ours = RESERVED if Path(folder) == output else ()
        folders[:] = [name for name in folders if name not in ours]
        found = (Path(folder, name) for name in names if name not in ours)
        files |= {str(target / path.relative_to(output)): path for path in found}
    return {name: path for name, path in files.items() if path.is_file() and not path.is_symlink()}


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
