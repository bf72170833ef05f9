"""Room for another workspace: on the disk, and among what its subject has not used yet."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Set
from contextlib import suppress
from pathlib import Path

from autoscorer.store.base import Jobs
from autoscorer.store.records import JobQuery
from autoscorer.store.transitions import ACTIVE, FINAL
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError

_PAGE = 200


def check_room(below: Path, settings: Settings, more: int) -> None:
    """Raise RESOURCE_UNAVAILABLE (disk) unless ``more`` bytes in ``below`` leave MIN_FREE_DISK free."""
    while not below.exists():
        below = below.parent
    free, needed = shutil.disk_usage(below).free, settings.min_free_disk_bytes + more
    if free < needed:
        raise AutoscorerError(
            "RESOURCE_UNAVAILABLE",
            "the disk of the workspaces has no room for this upload or copy (MIN_FREE_DISK)",
            {"free_bytes": free, "needed_bytes": needed, "setting": "MIN_FREE_DISK"},
            cause="disk",
        )


def size_of(folder: Path) -> int:
    """The bytes of all files in ``folder``; none if it is not there."""
    found = 0
    for path, _folders, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found += Path(path, name).stat().st_size
    return found


def check_open(
    jobs: Jobs, below: Path, settings: Settings, *, like: JobQuery, name: str, opening: Set[str]
) -> None:
    """Raise LIMIT_EXCEEDED (submissions) when ``below`` holds MAX_OPEN_SUBMISSIONS whose job has not ended.

    One without a job counts, one that is being made too, and ``opening``: workspaces about to get another
    job. ``like`` narrows to the subject's jobs; ``name`` is that of ``below`` in jobs.
    """
    most = settings.max_open_submissions
    found = {f"{name}/{folder}" for folder in _folders(below)}
    if not most or len(found) < most:
        return
    open_ones = len(found & opening)
    found -= _ended(jobs, like) | opening
    # What others have had scored for the subject.
    is_open = (not has_ended(jobs, workspace, like.organisation_id) for workspace in sorted(found))
    while open_ones < most:
        if (one := next(is_open, None)) is None:
            return
        open_ones += one
    message = (
        f"{most} submissions wait for their job or its end (MAX_OPEN_SUBMISSIONS); "
        "submit those first, or wait until they have ended."
    )
    raise AutoscorerError(
        "LIMIT_EXCEEDED",
        message,
        {"limit": most, "setting": "MAX_OPEN_SUBMISSIONS"},
        cause="submissions",
    )


def _folders(below: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(below) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _ended(jobs: Jobs, like: JobQuery) -> set[str]:
    """The workspaces of a subject's ended jobs, but those that have another one under way."""
    ended: set[str] = set()
    active: set[str] = set()
    before: int | None = None
    while True:
        query = JobQuery(
            organisation_id=like.organisation_id, submitted_by=like.submitted_by, before=before, limit=_PAGE
        )
        page = jobs.page(query)
        for job in page.jobs:
            (ended if job.state in FINAL else active).add(job.workspace)
        if page.next is None:
            return ended - active
        before = page.next


def has_ended(jobs: Jobs, workspace: str, organisation_id: str | None) -> bool:
    """Whether ``workspace`` has had a job and has none under way: an older one may have been retried."""
    query = JobQuery(organisation_id=organisation_id, workspace=workspace, limit=1)
    under_way = dataclasses.replace(query, states=ACTIVE)
    return bool(jobs.page(query).jobs) and not jobs.page(under_way).jobs
