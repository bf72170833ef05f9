"""Which backend runs a job, and what the job may use there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from autoscorer.executor.base import Limits
from autoscorer.schemas.job import JobSpec
from autoscorer.utils.config import Node, Settings, memory_text, parse_memory
from autoscorer.utils.errors import AutoscorerError

MAX_ATTEMPTS = 3
Isolation = Literal["hardened", "trusted"]


def resolve_limits(spec: JobSpec, settings: Settings) -> Limits:
    """The job's limits: what it asks for, else the operator's defaults.

    Raises LIMIT_EXCEEDED naming every request beyond the operator's maxima; nothing is clamped.
    """
    asked, container = spec.resources, spec.container
    memory = parse_memory(asked.memory) if asked.memory else settings.default_memory_bytes
    shm = parse_memory(container.shm_size) if container and container.shm_size else settings.default_shm_bytes
    limits = Limits(
        cpu_cores=asked.cpu if asked.cpu is not None else settings.default_cpu_cores,
        memory_bytes=memory,
        gpus=asked.gpus if asked.gpus is not None else settings.default_gpus,
        shm_bytes=min(shm, memory) if not (container and container.shm_size) else shm,
        time_limit_s=spec.time_limit if "time_limit" in spec.model_fields_set else settings.timeout_s,
        output_bytes=settings.max_output_bytes,
    )
    _refuse_excess(spec, limits, settings)
    return limits


def _refuse_excess(spec: JobSpec, limits: Limits, settings: Settings) -> None:
    pairs: list[tuple[str, str, float, float]] = [
        ("resources.cpu", "MAX_CPU", limits.cpu_cores, settings.max_cpu_cores),
        ("resources.memory", "MAX_MEMORY", limits.memory_bytes, settings.max_memory_bytes),
        ("container.shm_size", "MAX_MEMORY", limits.shm_bytes, settings.max_memory_bytes),
        ("resources.gpus", "MAX_GPUS", limits.gpus, settings.max_gpus),
        ("time_limit", "MAX_TIME_LIMIT", limits.time_limit_s, settings.max_time_limit_s),
    ]
    excess: list[dict[str, object]] = [
        {"field": name, "asked": asked, "allowed": allowed, "setting": setting}
        for name, setting, asked, allowed in pairs
        if asked > allowed
    ]
    network = spec.container.network_policy if spec.container else None
    if network not in (None, "none") and network not in settings.allowed_networks:
        excess.append(
            {
                "field": "container.network_policy",
                "asked": network,
                "allowed": ["none", *settings.allowed_networks],
                "setting": "ALLOWED_NETWORKS",
            }
        )
    if excess:
        text = "; ".join(
            f"{row['field']} asks for {_shown(row['asked'], row)}, "
            f"{row['setting']} allows {_shown(row['allowed'], row)}"
            for row in excess
        )
        raise AutoscorerError("LIMIT_EXCEEDED", text, {"excess": excess})


def _shown(amount: object, row: Mapping[str, object]) -> str:
    return memory_text(amount) if row["setting"] == "MAX_MEMORY" and isinstance(amount, int) else str(amount)


def room_for(output_bytes: int) -> int:
    """Free bytes that a job needs on its workspace's disk: what it may write fits twice, written and taken.

    So a program that fills the disk has written more than it may, and cannot make us run out.
    """
    return 2 * output_bytes


def least_free_bytes(settings: Settings) -> Mapping[str, int]:
    """What must be free on the disk of the ``workspaces`` and of the ``data`` for a job to be claimed.

    Never less than the job itself will ask for: one that is claimed with less fails for want of disk.
    """
    watermark = settings.min_free_disk_bytes
    return {"workspaces": max(watermark, room_for(settings.max_output_bytes)), "data": watermark}


def settings_on(node: Node, settings: Settings) -> Settings:
    """The settings of a job that runs on ``node``. Its certificate is asked for where there can be one."""
    return replace(
        settings,
        nodes=(),
        docker_host=node.host,
        docker_transport=node.transport or settings.docker_transport,
        docker_tls_verify=settings.docker_tls_verify and node.host.startswith("tcp://"),
    )


def on_each_engine(settings: Settings) -> list[Settings]:
    """The settings of each Docker engine that jobs may go to: of ``NODES``, else at ``DOCKER_HOST``."""
    return [settings_on(node, settings) for node in settings.nodes] or [settings]


def settings_for(asked: str, settings: Settings) -> Settings:
    """The settings of a job on that backend: on Kubernetes K8S_DEFAULT_RESOURCES are its defaults."""
    if asked != "k8s" and not (asked == "auto" and settings.k8s_enabled):
        return settings
    given = settings.k8s_default_resources
    return replace(
        settings,
        default_cpu_cores=given.get("cpu", settings.default_cpu_cores),
        default_memory_bytes=parse_memory(given["memory"])
        if "memory" in given
        else settings.default_memory_bytes,
        default_gpus=given.get("gpus", settings.default_gpus),
    )


def choose_backend(
    asked: str, engine_answers: Callable[[], bool], *, kubernetes_enabled: bool = False
) -> str:
    """The backend's name; ``auto`` is Kubernetes where that is enabled, else Docker where an engine answers.

    ``auto`` never falls back to less isolation by itself: with no container engine it raises
    RESOURCE_UNAVAILABLE, as for an engine that is asked for by name and does not answer.
    """
    if asked != "auto":
        return asked
    if kubernetes_enabled:
        return "k8s"
    if engine_answers():
        return "docker"
    raise AutoscorerError(
        "RESOURCE_UNAVAILABLE",
        "no container engine answers; start one (`systemctl start docker`, or `dockerd` as root), see "
        "DOCKER_HOST, or add `--backend local` to run in the local sandbox on this machine (the service "
        "offers it where SERVICE_BACKENDS names it)",
        {"backend": asked},
        cause="engine",
    )


def may_try_again(error: AutoscorerError, *, tries: int, allowed: int = MAX_ATTEMPTS) -> bool:
    """Whether a job that failed by the platform's fault gets another attempt by itself.

    Not when what failed was tried again with back-off already (``details.tries``: a registry that is down).
    """
    tried_already = "tries" in error.details
    return tries < allowed and error.retryable and error.blame == "platform" and not tried_already
