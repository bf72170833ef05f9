"""What a killed run left, found again and removed; and nothing that is not ours.

Each attempt is written down before the first thing of it is made (one file in the data directory) and
crossed out after the last is gone. Containers carry labels as well, for the case that the file is lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoscorer import claims
from autoscorer.executor.base import IsAlive, Reaped
from autoscorer.executor.docker.client import Engine, engine_errors
from autoscorer.executor.docker.containers import REMOVE_TRIES, remove_container
from autoscorer.executor.docker.output_cap import IMAGE_NAME, take_away
from autoscorer.executor.docker.planning import ATTEMPT_NAME, LABEL_FOLDER, LABEL_NAME, LABEL_OWNER
from autoscorer.executor.docker.sidecar import remove_sidecar, remove_volume, sidecar_name, volume_name
from autoscorer.executor.ownership import Owner, is_of_this_machine
from autoscorer.utils.artifacts import write_json
from autoscorer.utils.errors import AutoscorerError
from autoscorer.workspace import Attempt, Workspace

_ATTEMPTS = ".attempts"


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What is known of an attempt that may have left something. ``over``: its run is, whoever lives."""

    name: str
    owner: Owner
    folder: Path
    engine: str
    over: bool = False


class Journal:
    """The attempts under way on this machine, one small file each. One that cannot be written is no
    reason to refuse a job: the labels of its container remain.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, trace: Trace) -> None:
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            record = {
                "owner": str(trace.owner),
                "folder": str(trace.folder),
                "engine": trace.engine,
                "over": trace.over,
            }
            write_json(self._path(trace.name), record)

    def cross_out(self, name: str) -> None:
        with suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def traces(self) -> Iterator[Trace]:
        """What is written down; a file that is not ours or not whole is passed over."""
        with suppress(OSError):
            for path in sorted(self._folder.glob("autoscorer-*.json")):
                trace = _read_trace(path)
                if trace is not None:
                    yield trace

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def reap(
    engine: Engine, journal: Journal, is_alive: IsAlive, *, engine_host: str, tries: int = REMOVE_TRIES
) -> tuple[Reaped, ...]:
    """Remove container, mount, loop device and folder of every attempt whose owner is not alive.

    What cannot be removed now stays written down for the next time. Raises AutoscorerError when the
    engine does not answer.
    """
    written = {trace.name: trace for trace in journal.traces() if trace.engine == engine_host}
    labelled = {trace.name: trace for trace in _labelled(engine, engine_host)}
    removed: list[Reaped] = []
    for name, trace in (labelled | written).items():
        if not trace.over and is_alive(trace.owner):
            continue
        if name in labelled:
            if not (
                remove_container(engine, name, tries=tries) and remove_sidecar(engine, name, tries=tries)
            ):
                continue
            removed.append(Reaped(kind="container", name=name))
        elif not remove_volume(engine, name):
            continue
        if name in written or is_of_this_machine(trace.owner):  # else that path is another machine's
            removed += clear_attempt(trace.folder, whole=not trace.over)
        journal.cross_out(name)
    return tuple(removed)


def clear_attempt(folder: Path, *, whole: bool) -> Iterator[Reaped]:
    """Take the output away from an attempt's folder; with ``whole`` the folder too.

    A former output that was moved there stays: it may be the only copy. A folder that is not where
    attempts are is not touched.
    """
    if folder.parent.name != _ATTEMPTS or not folder.name.isdecimal() or folder.is_symlink():
        return
    with suppress(OSError):
        if take_away(folder / "out", folder / IMAGE_NAME):
            yield Reaped(kind="mount", name=f"{folder.name}/out")
        if whole and folder.is_dir():
            claims.clear_attempt(Attempt(Workspace(folder.parent.parent), int(folder.name)))
            yield Reaped(kind="folder", name=f"{_ATTEMPTS}/{folder.name}")


def _labelled(engine: Engine, engine_host: str) -> Iterator[Trace]:
    """Our containers and volumes at the engine. An image may carry our labels too, but not their names."""
    filters = {"label": [LABEL_OWNER]}
    with engine_errors("looking for containers left behind"):
        rows: list[dict[str, Any]] = engine.api.containers(all=True, filters=filters)
        volumes: list[dict[str, Any]] = engine.api.volumes(filters=filters).get("Volumes") or []
    for row in (*rows, *volumes):
        labels = row.get("Labels") or {}
        name = str(labels.get(LABEL_NAME))
        owner = Owner.parse(str(labels.get(LABEL_OWNER)))
        ours = {f"/{name}", f"/{sidecar_name(name)}", volume_name(name)}
        if owner and ATTEMPT_NAME.fullmatch(name) and ours & {*(row.get("Names") or ()), row.get("Name")}:
            folder = Path(str(labels.get(LABEL_FOLDER)))
            yield Trace(name=name, owner=owner, folder=folder, engine=engine_host)


def _read_trace(path: Path) -> Trace | None:
    try:
        record = json.loads(path.read_bytes())
        owner = Owner.parse(str(record["owner"]))
        folder, engine, over = Path(record["folder"]), str(record["engine"]), bool(record["over"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if owner is None or not ATTEMPT_NAME.fullmatch(path.stem):
        return None
    return Trace(name=path.stem, owner=owner, folder=folder, engine=engine, over=over)


def reap_quietly(engine: Engine, journal: Journal, is_alive: IsAlive, *, engine_host: str) -> None:
    """As `reap`, before a run: what cannot be removed at once must not keep a new job from running."""
    with suppress(AutoscorerError, OSError):
        reap(engine, journal, is_alive, engine_host=engine_host, tries=1)
