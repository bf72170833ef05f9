"""Outputs that a later attempt replaced, in `.attempts/<n>/previous_output`: gone when they are old."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from autoscorer.claims import claim
from autoscorer.maintenance.retention.folders import entered, last_change_s
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event
from autoscorer.workspace import Attempt, Workspace

_DEPTH = 32  # as deep as a request may name a workspace


def remove_former_outputs(root: Path, *, now: datetime, keep_days: float) -> list[Path]:
    """Remove former outputs below ``root`` that were put there before; 0 days: none. Which they were.

    A workspace is held meanwhile; one that somebody works on is left for the next time.
    """
    if not keep_days:
        return []
    before_s = (now - timedelta(days=keep_days)).timestamp()
    removed: list[Path] = []
    for path in workspaces_below(Path(os.path.realpath(root))):
        workspace = Workspace(path)
        if old := [attempt for attempt in _kept(workspace) if _is_old(attempt, before_s)]:
            removed += _remove(workspace, old)
    return removed


def workspaces_below(root: Path) -> Iterator[Path]:
    """Every folder with a `meta.json`, without looking into it, behind links or into hidden folders."""
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        with suppress(OSError), os.scandir(folder) as found:
            entries = list(found)
            if depth and any(entry.name == "meta.json" for entry in entries):
                yield folder
            elif depth < _DEPTH:
                waiting += [
                    (Path(entry.path), depth + 1)
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
                ]


def _kept(workspace: Workspace) -> list[Attempt]:
    if workspace.attempts_dir.is_symlink():
        return []
    with suppress(OSError):
        return [attempt for attempt in workspace.attempts() if not attempt.owner()]
    return []


def _is_old(attempt: Attempt, before_s: float) -> bool:
    with suppress(OSError), entered(attempt.root) as folder:
        return last_change_s(folder, attempt.previous_output.name) < before_s
    return False


def _remove(workspace: Workspace, old: list[Attempt]) -> list[Path]:
    removed: list[Path] = []
    try:
        with claim(workspace):
            for attempt in old:
                remove_tree(attempt.previous_output)
                removed.append(attempt.previous_output)
                with suppress(OSError):
                    attempt.root.rmdir()  # unless something else was kept there
    except AutoscorerError:  # somebody works on it
        return removed
    except OSError as exc:
        log_event("WARNING", "former_output_stays", workspace=str(workspace.root), reason=str(exc.strerror))
    return removed
