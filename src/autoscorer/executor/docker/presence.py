"""What a Docker node says of itself to whoever chooses one: whether it answers, and what of ours runs there.

The engine is asked and nobody's memory: so several workers agree, and nothing has to be told to anybody.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from autoscorer.executor.docker.client import Engine, answers, connect, engine_errors
from autoscorer.executor.docker.containers import Container
from autoscorer.executor.docker.planning import (
    ATTEMPT_NAME,
    LABEL_FOLDER,
    LABEL_GPU_IDS,
    LABEL_GPUS,
    LABEL_NAME,
    LABEL_OWNER,
)
from autoscorer.executor.docker.sidecar import sidecar_name
from autoscorer.executor.nodes.ranking import Health, Load, Running
from autoscorer.utils.config import Node, Settings
from autoscorer.utils.errors import AutoscorerError

LOOK_TIMEOUT_S = 5.0
GPU_TRIES = 20
_UNENDED = {"label": [LABEL_OWNER], "status": ["created", "running", "paused", "restarting"]}
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
            return running_of(engine.api.containers(all=True, filters=_UNENDED))

    return load


def free_gpus(engine: Engine, *, asked: int, present: int) -> tuple[str, ...]:
    """The numbers of ``asked`` GPUs of ``present``, those first that fewest of our containers have."""
    if not asked:
        return ()
    with engine_errors("looking for jobs with GPUs", lost="CONTAINER_WAIT_FAILED"):
        return least_used(engine.api.containers(all=True, filters=_UNENDED), asked=asked, present=present)


def least_used(rows: Iterable[Mapping[str, Any]], *, asked: int, present: int) -> tuple[str, ...]:
    """The same from what the engine tells of its containers."""
    uses = Counter(number for labels in _ours(rows) for number in _gpu_ids(labels))
    best = sorted(range(present), key=lambda number: (uses[str(number)], number))[:asked]
    return tuple(map(str, sorted(best)))


def with_gpus_alone(
    engine: Engine, name: str, create: Callable[[], Container], *, present: int, may_share: bool
) -> Container:
    """The container of the attempt ``name``, made by ``create``, that has its GPUs of ``present`` to itself.

    Two jobs may have chosen the same at once. Of their containers, which do not run yet, the one that is
    looked for last sees the other: whoever sees one gives way and chooses again. With ``may_share`` not
    where the others leave too few. Raises RESOURCE_UNAVAILABLE.
    """
    for _ in range(GPU_TRIES):
        container = create()
        with engine_errors("looking for jobs with GPUs", lost="CONTAINER_WAIT_FAILED"):
            rows = engine.api.containers(all=True, filters=_UNENDED)
        if not gives_way(rows, name, present=present, may_share=may_share):
            return container
        container.remove()
        time.sleep(random.uniform(0.05, 0.5))  # noqa: S311 - so that two do not meet again, no secret
    message = "Other jobs took the GPUs meanwhile."
    raise AutoscorerError("RESOURCE_UNAVAILABLE", message, {"setting": "NODES"}, cause="nodes")


def gives_way(rows: Iterable[Mapping[str, Any]], name: str, *, present: int, may_share: bool) -> bool:
    """Whether the attempt ``name`` is to choose again: another has one of its GPUs, and others are free.

    Unless it ``may_share`` it gives way even if none are.
    """
    mine, others = set[str](), set[str]()
    for labels in _ours(rows):
        (mine if labels[LABEL_NAME] == name else others).update(_gpu_ids(labels))
    return bool(mine & others) and (not may_share or len(mine) <= present - len(others))


def running_of(rows: Iterable[Mapping[str, Any]]) -> Running:
    """An attempt counts once, however many containers it has."""
    gpus, attempts = {}, set[str]()
    for labels in _ours(rows):
        given = str(labels.get(LABEL_GPUS, ""))
        gpus[labels[LABEL_NAME]] = int(given) if given.isdecimal() else 0
        attempts.add(str(labels.get(LABEL_FOLDER, "")))
    return Running(jobs=len(gpus), gpus=sum(gpus.values()), attempts=frozenset(attempts))


def _ours(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The labels of our containers. An image may carry our labels too, but its container not our names."""
    for row in rows:
        labels = row.get("Labels") or {}
        name = str(labels.get(LABEL_NAME, ""))
        names = {f"/{name}", f"/{sidecar_name(name)}"}
        if ATTEMPT_NAME.fullmatch(name) and names & {*(row.get("Names") or ())}:
            yield labels


def _gpu_ids(labels: Mapping[str, Any]) -> set[str]:
    return {*filter(None, str(labels.get(LABEL_GPU_IDS, "")).split(","))}
