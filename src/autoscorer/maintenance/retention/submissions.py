"""Workspaces that were uploaded or made for one job: gone once no job names them and they are old."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from autoscorer.access.folders import SUBMISSIONS, home_of
from autoscorer.maintenance.retention.folders import (
    entered_below,
    folder_names,
    last_change_s,
    mount_points,
    path_in,
)
from autoscorer.store.base import Store
from autoscorer.store.records import JobQuery
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.logger import log_event

_OURS = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_UNFINISHED, _GOING = ".", ".removing-"


class Submissions:
    """The folders `submissions/SUBJECT/UUID` of every organisation's home below ``root``."""

    def __init__(
        self, root: Path, store: Store, *, mounted: Callable[[], frozenset[Path]] = mount_points
    ) -> None:
        self._root = Path(os.path.realpath(root))
        self._store = store
        self._mounted = mounted

    def remove_unneeded(self, *, now: datetime, keep_days: float) -> list[str]:
        """Remove those that no job names and that did not change since; their names. 0 days: none.

        Safe to do by several processes at once. Only folders with a name that we give are touched.
        """
        if not keep_days:
            return []
        before_s = (now - timedelta(days=keep_days)).timestamp()
        removed: list[str] = []
        for organisation in self._store.access.organisations():
            for subject in self._subjects(str(home_of(organisation.name) / SUBMISSIONS)):
                with suppress(OSError), entered_below(self._root, subject) as folder:
                    removed += self._clear(folder, subject, before_s)
        return removed

    def _subjects(self, submissions: str) -> Iterator[str]:
        names: list[str] = []
        with suppress(OSError), entered_below(self._root, submissions) as folder:
            names = folder_names(folder)
        for name in names:
            yield f"{submissions}/{name}"

    def _clear(self, folder: int, subject: str, before_s: float) -> Iterator[str]:
        for found in folder_names(folder):
            name = found.removeprefix(_GOING).removeprefix(_UNFINISHED)
            workspace = f"{subject}/{name}"
            if not _OURS.fullmatch(name) or self._is_mounted(f"{subject}/{found}"):
                continue
            try:
                is_going = found.startswith(_GOING) or self._takes_away(folder, found, workspace, before_s)
                if is_going and self._finishes(folder, name, workspace):
                    log_event("INFO", "submission_removed", workspace=workspace)
                    yield workspace
            except FileNotFoundError:
                continue  # another process was quicker
            except OSError as exc:
                log_event("WARNING", "submission_stays", workspace=workspace, reason=str(exc.strerror))

    def _takes_away(self, folder: int, found: str, workspace: str, before_s: float) -> bool:
        """Move one that is old and not needed out of its place. Raises OSError."""
        if last_change_s(folder, found) >= before_s or self._is_named(workspace):
            return False
        going = _GOING + found.removeprefix(_UNFINISHED)
        os.rename(found, going, src_dir_fd=folder, dst_dir_fd=folder)
        return True

    def _finishes(self, folder: int, name: str, workspace: str) -> bool:
        """Remove one that was moved away, or put it back: a job may have come for it meanwhile.

        Whoever wants to submit it from now on finds no such workspace. Raises OSError.
        """
        if not self._is_named(workspace):
            remove_tree(path_in(folder, _GOING + name))
            return True
        if name not in folder_names(folder):
            os.rename(_GOING + name, name, src_dir_fd=folder, dst_dir_fd=folder)
        return False

    def _is_named(self, workspace: str) -> bool:
        return any(
            self._store.jobs.page(
                JobQuery(organisation_id=organisation.organisation_id, workspace=workspace, limit=1)
            ).jobs
            for organisation in self._store.access.organisations()
        )

    def _is_mounted(self, name: str) -> bool:
        """Whether something is mounted in it: what lies there is not ours."""
        return any(point.is_relative_to(self._root / name) for point in self._mounted())
