"""Whether each node of NODES can be used: it answers, the data get there, its GPUs are those declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from autoscorer.confine.probes import Diagnosis, Probe
from autoscorer.executor.docker.client import Engine, connect
from autoscorer.executor.docker.images import find_local
from autoscorer.executor.docker.mounting import sees_files
from autoscorer.executor.docker.probes import diagnose_engine
from autoscorer.executor.image_names import image_name
from autoscorer.utils.config import Node, Settings
from autoscorer.utils.errors import AutoscorerError

_TRIED_THERE = "what a node on another machine enforces, `autoscorer doctor` says when it is run there"


def diagnose_nodes(nodes: Sequence[Node], settings_on: Callable[[Node], Settings]) -> Diagnosis:
    """Each node, and the isolation properties on the first that is on this machine and mounts our files."""
    probes: list[Probe] = []
    tried: Diagnosis | None = None
    for node in nodes:
        used = settings_on(node)
        found, mounts = probe_node(node, used)
        probes.append(found)
        if tried is None and found.enforced and mounts and used.docker_host.startswith("unix://"):
            tried = diagnose_engine(used)
    if tried is None:
        return Diagnosis(
            backend="docker", probes=tuple(probes), never_enforced={}, engine={}, advice=(_TRIED_THERE,)
        )
    return Diagnosis(
        backend="docker",
        probes=(*probes, *tried.probes),
        never_enforced=tried.never_enforced,
        engine=tried.engine,
        advice=(*tried.advice, _TRIED_THERE),
    )


def probe_node(node: Node, settings: Settings) -> tuple[Probe, bool]:
    """What can be said of a node, with what to do; whether it mounts our files."""
    below = settings.workspace_root or settings.data_dir
    try:
        with connect(settings) as engine:
            mounts = sees_files(engine, below)
            told = [f"Docker {engine.facts().version} answers at {settings.docker_host}"]
            faults = [
                *_transport(engine, settings, told, mounts=mounts),
                *_gpus(engine, node, told),
            ]
    except AutoscorerError as exc:
        reason = exc.details.get("reason", exc.message)
        faults = [
            f"cannot be used at {settings.docker_host}: {reason}; start it, let this machine reach it, "
            "or take it out of NODES"
        ]
        told, mounts = [], False
    except OSError as exc:  # the folder of `sees_files`; what the engine raises is an AutoscorerError by now
        setting = "WORKSPACE_ROOT" if settings.workspace_root else "DATA_DIR"
        faults = [
            f"cannot be tried, for no folder can be made in {below} ({exc.strerror}); "
            f"set {setting} to a folder in which this user may write"
        ]
        told, mounts = [], False
    detail = "; ".join(faults or told)
    return Probe(name=f"node {node.name}", enforced=not faults, detail=detail), mounts


def _transport(engine: Engine, settings: Settings, told: list[str], *, mounts: bool) -> Iterator[str]:
    """What is wrong with how data get there; what is right goes to ``told``."""
    wanted = settings.docker_transport
    if wanted == "bind" and not mounts:
        yield "it does not see the workspaces' folder; share that at the same path, or let transport be auto"
    if wanted == "bind" or (wanted == "auto" and mounts):
        told.append("transport bind")
        return
    name = settings.docker_helper_image
    told.append("transport stream")
    if find_local(engine, image_name(name)) is not None:
        return
    if settings.image_pull_policy == "never":
        yield f"it lacks the image {name} (DOCKER_HELPER_IMAGE); run `docker pull {name}` there"
    told.append(f"{name} will be pulled")


def _gpus(engine: Engine, node: Node, told: list[str]) -> Iterator[str]:
    found = engine.facts().gpus
    if 0 < found < node.gpus:
        yield f"NODES says it has {node.gpus} GPUs, its engine tells of {found}"
    told.append(f"{node.gpus} GPUs declared" + (f", {found} found" if found else ""))
