"""What a job has left on this machine: containers, volumes, mounts, loop devices, folders."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.executor.attempts import eventually


@dataclass(frozen=True, kw_only=True)
class Lifetime:
    """A container of a job, as the engine tells it: from its start until it was gone, in seconds."""

    container: str
    seconds: float | None


def left_behind(engine: Any, workspace: Path, job_id: str, *, since: float) -> list[str]:
    """Everything that is still there, one line a thing."""
    # Another test's mount namespace, made meanwhile, keeps a device until it ends; what we leave stays.
    eventually(lambda: not loop_devices_below(workspace), within_s=30)
    return [
        *(f"container {row['Id'][:12]}" for row in containers_of(engine, job_id)),
        *(f"volume {name}" for name in volumes_of(engine, job_id, since=since)),
        *(f"mount {target}" for target in mounts_below(workspace)),
        *(f"loop device {device}" for device in loop_devices_below(workspace)),
        *(f"folder {name} with {entries}" for name, entries in attempts_of(workspace)),
    ]


def containers_of(engine: Any, job_id: str) -> list[dict[str, Any]]:
    """Containers that name the job in a label, whatever the label is called."""
    rows: list[dict[str, Any]] = engine.api.containers(all=True)
    return [row for row in rows if job_id in (row["Labels"] or {}).values()]


def volumes_of(engine: Any, job_id: str, *, since: float) -> list[str]:
    """Volumes that a container of the job had and that are still there."""
    ours = {event["Actor"]["ID"] for event in container_events(engine, job_id, since=since)}
    mounted = {
        event["Actor"]["ID"]
        for event in _events(engine, since=since, kind="volume")
        if event["Actor"]["Attributes"].get("container") in ours
    }
    there = {row["Name"] for row in engine.api.volumes()["Volumes"] or []}
    return sorted(mounted & there)


def mounts_below(folder: Path) -> list[str]:
    """Mount points below a folder, as the kernel writes them."""
    shown = str(folder).replace(" ", "\\040")
    targets = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [target for target in targets if target.startswith(f"{shown}/")]


def loop_devices_below(folder: Path) -> list[str]:
    """Loop devices whose file is or was below a folder."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backing = path.read_text()
        except OSError:
            continue
        if backing.startswith(f"{folder}/"):
            found.append(path.parts[3])
    return found


def attempts_of(workspace: Path) -> list[tuple[str, list[str]]]:
    """Folders of attempts and what is in each; one that only keeps a former output is no left-over."""
    folder, found = workspace / ".attempts", list[tuple[str, list[str]]]()
    for entry in folder.iterdir() if folder.exists() else ():
        with suppress(FileNotFoundError):  # a job beside this one takes its own away
            found.append((entry.name, sorted(os.listdir(entry))))
    return [(name, entries) for name, entries in found if entries != ["previous_output"]]


def lifetimes(engine: Any, job_id: str, *, since: float) -> list[Lifetime]:
    """How long each container of the job was there after its start; None for one that is there still."""
    started: dict[str, float] = {}
    gone: dict[str, float] = {}
    for event in container_events(engine, job_id, since=since):
        when = event["timeNano"] / 1e9
        if event["Action"] == "start":
            started[event["Actor"]["ID"]] = when
        if event["Action"] == "destroy":
            gone[event["Actor"]["ID"]] = when
    return [
        Lifetime(container=name[:12], seconds=gone[name] - when if name in gone else None)
        for name, when in started.items()
    ]


def container_events(engine: Any, job_id: str, *, since: float) -> list[dict[str, Any]]:
    events = _events(engine, since=since, kind="container")
    return [event for event in events if job_id in event["Actor"]["Attributes"].values()]


def _events(engine: Any, *, since: float, kind: str) -> list[dict[str, Any]]:
    until = f"{time.time() + 0.001:.6f}"
    stream = engine.api.events(since=f"{since:.6f}", until=until, filters={"type": kind}, decode=False)
    return [json.loads(line) for chunk in stream for line in chunk.splitlines() if line.strip()]
