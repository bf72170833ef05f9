"""What the modules of this package hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PRIVATE = "rprivate"


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """What the engine says of itself. ``local``: a Unix socket on this machine."""

    version: str
    api_version: str
    architecture: str
    cgroup_version: str
    storage_driver: str
    data_root: Path
    security_options: tuple[str, ...]
    runtimes: Mapping[str, str]
    gpus: int
    local: bool


@dataclass(frozen=True, kw_only=True)
class RunnableImage:
    """An image that passed its preflight. It is run by ``image_id``, never by a name.

    ``repo_digest`` is the registry's digest, None for an image that never saw a registry.
    ``pull_seconds`` is None when it was not pulled.
    """

    name: str
    image_id: str
    repo_digest: str | None
    volumes: tuple[str, ...]
    env: Mapping[str, str]
    user: str
    pull_seconds: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A host path shown in the container. ``propagation``: whether mounts made below it show."""

    source: Path
    target: str
    read_only: bool
    propagation: str = PRIVATE


@dataclass(frozen=True, kw_only=True)
class ContainerPlan:
    """All that decides what a container may do; `options.create_body` turns it into the engine's words."""

    name: str
    labels: Mapping[str, str]
    image: RunnableImage
    command: tuple[str, ...]
    env: Mapping[str, str]
    user: str
    bindings: tuple[Binding, ...]
    cpu_cores: float
    memory_bytes: int
    shm_bytes: int
    tmp_bytes: int
    gpu_ids: tuple[str, ...]
    processes: int
    file_bytes: int | None
    network: str
    security_opts: tuple[str, ...] = ()
    volume_bytes: int = field(default=64 * 2**20)
