"""Where data comes from and goes to: `input_uri` and `output_uri`, kept inside their bounds."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from autoscorer.schemas.job import JobSpec, SpecFault, spec_error
from autoscorer.workspace import Workspace

FILE_SCHEME = "file://"


def input_dir(workspace: Workspace, spec: JobSpec, *, shared_root: Path | None) -> Path:
    """The folder that is shown to the program as `input/`.

    It lies in the workspace or in ``shared_root`` and neither holds nor is the reference or a folder
    of ours. Raises CONFIG_VALIDATION_ERROR otherwise, or when it is not a folder.
    """
    path = _inside(workspace, spec.input_uri, "input_uri", roots=[workspace.root, shared_root])
    ours = [workspace.reference_dir, output_dir(workspace, spec), workspace.logs_dir, workspace.attempts_dir]
    _apart(path, ours, "input_uri")
    if not path.is_dir():
        raise spec_error([SpecFault("input_uri", f"{spec.input_uri} is not a folder")], cause="workspace")
    return path


def output_dir(workspace: Workspace, spec: JobSpec) -> Path:
    """The folder of predictions and result: inside the workspace, apart from everything else in it."""
    path = _inside(workspace, spec.output_uri, "output_uri", roots=[workspace.root])
    others = [
        workspace.reference_dir,
        workspace.root / "input",
        workspace.logs_dir,
        workspace.attempts_dir,
        workspace.spec_path,
    ]
    _apart(path, others, "output_uri")
    return path


def _inside(workspace: Workspace, uri: str, field: str, *, roots: list[Path | None]) -> Path:
    """The real path of a `file://` URI, which must lie below one of ``roots``."""
    if not uri.startswith(FILE_SCHEME):
        scheme = uri.split(":", 1)[0] if ":" in uri else "none"
        fault = SpecFault(field, f"scheme {scheme!r} is not supported here", "use file://./input")
        raise spec_error([fault])
    text = unquote(uri.removeprefix(FILE_SCHEME))
    if not text or "\0" in text:
        raise spec_error([SpecFault(field, "names no path", "use file://./input")])
    try:
        path = (workspace.root / text).resolve()
    except (OSError, RuntimeError) as exc:
        raise spec_error([SpecFault(field, f"{uri} cannot be resolved")]) from exc
    for root in roots:
        if root is not None and path.is_relative_to(root.resolve()) and path != root.resolve():
            return path
    raise spec_error([SpecFault(field, f"{uri} leads out of the workspace", "use file://./input")])


def _apart(path: Path, others: list[Path], field: str) -> None:
    """Raise unless ``path`` neither holds nor lies in any of ``others``."""
    for other in (entry.resolve() for entry in others):
        if path == other or path.is_relative_to(other) or other.is_relative_to(path):
            raise spec_error([SpecFault(field, f"overlaps {other.name}/", "use a folder of its own")])
