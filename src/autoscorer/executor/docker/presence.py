"""What a Docker node says of itself to whoever chooses one: whether it answers, and what of ours runs there.

The engine is asked and nobody's memory: so several workers agree, and nothing has to be told to anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from autoscorer.executor.docker.client import answers, connect, engine_errors
from autoscorer.executor.docker.planning import LABEL_GPUS, LABEL_NAME, LABEL_OWNER
from autoscorer.executor.nodes.ranking import Health, Load, Running
from autoscorer.utils.config import Node, Settings

LOOK_TIMEOUT_S = 5.0
_UNENDED = ["created", "running", "paused", "restarting"]
SettingsOn = Callable[[Node], Settings]


def engine_health(settings_on: SettingsOn) -> Health:
    """A node is well when its engine answers within two seconds."""

    def health(node: Node) -> str | None:
        return None if answers(settings_on(node)) else "no engine answers there"

    return health


def engine_load(settings_on: SettingsOn) -> Load:
    """The attempts that have a container at the engine, of whichever worker."""

    def load(node: Node) -> Running:
        with (
            connect(settings_on(node), timeout_s=LOOK_TIMEOUT_S) as engine,
            engine_errors("looking for jobs"),
        ):
            filters = {"label": [LABEL_OWNER], "status": _UNENDED}
            return running_of(engine.api.containers(all=True, filters=filters))

    return load


def running_of(rows: Iterable[Mapping[str, Any]]) -> Running:
    """An attempt counts once, however many containers it has."""
    gpus = {}
    for row in rows:
        labels = row.get("Labels") or {}
        given = str(labels.get(LABEL_GPUS, ""))
        gpus[labels.get(LABEL_NAME)] = int(given) if given.isdecimal() else 0
    return Running(jobs=len(gpus), gpus=sum(gpus.values()))
