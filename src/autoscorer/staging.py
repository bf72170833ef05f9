"""Where data comes from and goes to: `input_uri` and `output_uri`, kept inside their bounds."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import unquote

from autoscorer.schemas.job import JobSpec, SpecFault, spec_error
from autoscorer.utils.errors import AutoscorerError
from autoscorer.workspace import Workspace

FILE_SCHEME = "file://"
ORGANISATIONS = "organisations"
MAX_PARTS = 32
MAX_NAME_BYTES = 255
PRIVATE_NAMES = {"reference", "output", "logs", ".attempts"}
_USUAL = "file://./input", "file://./output"


def input_dir(workspace: Workspace, spec: JobSpec, *, shared_root: Path | None) -> Path:
    """The folder that is shown to the program as `input/`.

    It lies in the workspace or in that home below ``shared_root`` in which the workspace lies, is no part
    of another workspace, and neither holds nor is the reference or a folder of ours. Raises
    CONFIG_VALIDATION_ERROR otherwise, or when it is not a folder.
    """
    if (spec.input_uri, spec.output_uri) == _USUAL and _is_plain(workspace):
        if not os.path.isdir(f"{workspace.root}/input"):  # noqa: PTH112 - as text, it is quicker
            raise _fault("input_uri", f"{spec.input_uri} is not a folder")
        return workspace.root / "input"
    path = _resolved(workspace, spec.input_uri, "input_uri")
    ours = [workspace.reference_dir, workspace.logs_dir, workspace.attempts_dir]
    ours += [_resolved(workspace, spec.output_uri, "output_uri")]
    if path == workspace.root or not path.is_relative_to(workspace.root):
        _check_shared(path, workspace, spec.input_uri, shared_root=shared_root)
    _check_apart(path, ours, "input_uri")
    if not path.is_dir():
        raise _fault("input_uri", f"{spec.input_uri} is not a folder")
    return path


def output_dir(workspace: Workspace, spec: JobSpec) -> Path:
    """The folder of predictions and result: inside the workspace, apart from everything else in it."""
    if spec.output_uri == _USUAL[1] and _is_plain(workspace):
        return workspace.root / "output"
    path = _resolved(workspace, spec.output_uri, "output_uri")
    if path == workspace.root or not path.is_relative_to(workspace.root):
        raise _fault("output_uri", f"{spec.output_uri} leads out of the workspace")
    others = [
        workspace.reference_dir,
        workspace.root / "input",
        workspace.logs_dir,
        workspace.attempts_dir,
        workspace.spec_path,
    ]
    _check_apart(path, others, "output_uri")
    steps = [path, *path.parents][: len(path.relative_to(workspace.root).parts)]
    if any(step.exists() and not step.is_dir() for step in steps):
        raise _fault("output_uri", f"{spec.output_uri} is not a folder")
    return path


def home_around(path: Path, root: Path) -> Path:
    """The home below ``root`` that ``path`` lies in; both are real. What is nobody's else is the first's.

    Two paths with different homes are of two organisations, and neither is the other's to read.
    """
    parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
    return root.joinpath(*parts[:2]) if parts[:1] == (ORGANISATIONS,) else root


def _is_plain(workspace: Workspace) -> bool:
    """Whether `output/` is a folder or nothing, and no part of the workspace is a link that could make two
    of them overlap: almost always. Asked at each submission, and five times a job."""
    there = workspace.layout()
    is_free = stat.S_ISDIR(there.get("output", stat.S_IFDIR))
    return is_free and not any(map(stat.S_ISLNK, there.values()))


def _resolved(workspace: Workspace, uri: str, field: str) -> Path:
    """The real path of a `file://` URI; nothing need be there."""
    if not uri.startswith(FILE_SCHEME):
        scheme = uri.split(":", 1)[0] if ":" in uri else "none"
        raise _fault(field, f"scheme {scheme!r} is not supported here")
    text = unquote(uri.removeprefix(FILE_SCHEME))
    if not text or "\0" in text:
        raise _fault(field, "names no path")
    if text.count("/") > MAX_PARTS or any(len(part.encode()) > MAX_NAME_BYTES for part in text.split("/")):
        raise _fault(field, "names a path too deep or too long")
    try:
        return (workspace.root / text).resolve()
    except (OSError, RuntimeError) as exc:
        raise _fault(field, f"{uri} cannot be resolved") from exc


def _check_shared(path: Path, workspace: Workspace, uri: str, *, shared_root: Path | None) -> None:
    """Raise unless ``path`` lies in the workspace's home and shows nothing of any workspace there."""
    root = shared_root.resolve() if shared_root is not None else None
    home = home_around(workspace.root.resolve(), root) if root is not None else None
    if root is None or path in (root, home) or not path.is_relative_to(root):
        raise _fault("input_uri", f"{uri} leads out of the workspace")
    if home_around(path, root) != home:
        raise _fault("input_uri", f"{uri} leads out of the organisation's folder")
    steps = [path, *path.parents][: len(path.relative_to(root).parts)]
    above = any((step / "meta.json").exists() for step in steps)
    private = set(path.relative_to(root).parts) & PRIVATE_NAMES
    if above or private or _holds_workspace(path):
        raise _fault("input_uri", f"{uri} is, holds or lies in another workspace")


def _holds_workspace(folder: Path, *, depth: int = 3) -> bool:
    """Whether a `meta.json` stands up to ``depth`` folders below ``folder``."""
    if not folder.is_dir() or depth == 0:
        return False
    below = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink()]
    return any((entry / "meta.json").exists() or _holds_workspace(entry, depth=depth - 1) for entry in below)


def _check_apart(path: Path, others: list[Path], field: str) -> None:
    """Raise unless ``path`` neither holds nor lies in any of ``others``."""
    inside = f"{path}/"
    for other in others:  # as text: this is asked several times a job, and as paths it took 2 ms each time
        beside = f"{os.path.realpath(other)}/"
        if inside.startswith(beside) or beside.startswith(inside):
            raise _fault(field, f"overlaps {other.name}/")


def _fault(field: str, message: str) -> AutoscorerError:
    return spec_error([SpecFault(field, message, f"use file://./{field.removesuffix('_uri')}")])
