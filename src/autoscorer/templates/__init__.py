"""The ready workspaces that `autoscorer init TASK DIR` hands out: one folder here is one task."""

from __future__ import annotations

import difflib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from autoscorer.utils.artifacts import write_json
from autoscorer.utils.errors import AutoscorerError

_FOLDER = Path(__file__).parent


def task_names() -> list[str]:
    """The tasks there is a template for, in order: the folders here that hold a `meta.json`."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/meta.json"))


def write_template(task: str, target: Path) -> list[Path]:
    """Make ``target`` a ready workspace for ``task``; returns the files written, in order.

    ``target`` is a new or an empty folder; a new one appears complete or not at all. Its name becomes
    the job id. Raises AutoscorerError CONFIG_VALIDATION_ERROR for an unknown task and for a target that
    is something else or cannot be written.
    """
    source = _template_of(task)
    target = Path(os.path.realpath(target))  # "." has a name only so
    exists = os.path.lexists(target)
    try:
        if exists and any(target.iterdir()):
            raise _fault(f"{target.name} is not empty: init writes into a new or an empty folder")
        _build(source, target, exists=exists)
    except OSError as exc:
        raise _fault(f"{target.name} cannot be written: {exc.strerror}") from exc
    return [target / path for path in _files(source)]


def _template_of(task: str) -> Path:
    known = task_names()
    if task not in known:
        near = difflib.get_close_matches(task, known, n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise _fault(f"there is no template for {task!r}; {guess}Known: {', '.join(known)}")
    return _FOLDER / task


def _build(source: Path, target: Path, *, exists: bool) -> None:
    """Write the workspace under a temporary name on the same disk, then move it into place."""
    # An empty folder may be a shell's working directory or a mount: it is filled, not replaced.
    home = target if exists else target.parent
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".autoscorer-init-") as folder:
        building = Path(folder) / "workspace"
        for path in _files(source):
            (building / path).parent.mkdir(parents=True, exist_ok=True)
            (building / path).write_bytes((source / path).read_bytes())
        spec = json.loads((building / "meta.json").read_bytes())
        write_json(building / "meta.json", spec | {"job_id": _job_id(target.name) or spec["job_id"]})
        for part in sorted(building.iterdir()) if exists else [building]:
            part.rename(target / part.name if exists else target)


def _files(source: Path) -> Iterator[Path]:
    """The template's files, relative to it; not the byte code an installer leaves beside a program."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.parent.name != "__pycache__":
            yield path.relative_to(source)


def _job_id(folder_name: str) -> str:
    """The folder's name in the letters a job id may have; empty if none is left."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder_name).strip("._-")[:128]


def _fault(message: str) -> AutoscorerError:
    return AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="workspace")
