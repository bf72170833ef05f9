"""What a container may do: a pure function from the attempt, its image and its output folder to the plan."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autoscorer.executor.base import AttemptPlan, Limits
from autoscorer.executor.docker.options import HOSTNAME, WORKSPACE
from autoscorer.executor.docker.types import PRIVATE, Binding, ContainerPlan, RunnableImage

NOBODY = "65534:65534"
FILE_SLACK_BYTES = 2**20  # one file may just pass the output limit, so that the watch can name it
LABEL_NAME = "autoscorer.name"
LABEL_OWNER = "autoscorer.owner"
LABEL_JOB = "autoscorer.job"
LABEL_FOLDER = "autoscorer.folder"
LABEL_GPUS = "autoscorer.gpus"
LABEL_GPU_IDS = "autoscorer.gpu-ids"
ATTEMPT_NAME = re.compile(r"autoscorer-[0-9a-f]{32}")
HOSTS = f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {HOSTNAME}\n"
DEFAULT_ENV = {"HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 - the container's
# Where NVIDIA's is the engine's usual runtime, a mere variable of the image or the job gives all GPUs.
NO_GPU_ENV = {"NVIDIA_VISIBLE_DEVICES": "void"}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What `stage_in` made for one attempt; its paths are the engine's."""

    name: str
    input_dir: Path
    out_dir: Path
    spec_copy: Path
    hosts: Path
    output_is_capped: bool
    propagation: str = PRIVATE


def container_name(plan: AttemptPlan, nonce: str) -> str:
    """A name of its own for each attempt: the full id is hashed, so ids that share a prefix never meet."""
    text = "\0".join((plan.job_id, plan.attempt_id, str(plan.attempt_dir), nonce))
    return f"autoscorer-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def owner_labels(plan: AttemptPlan, *, name: str, owner: str) -> dict[str, str]:
    """How a killed run's container is found again."""
    return {
        LABEL_NAME: name,
        LABEL_OWNER: owner,
        LABEL_JOB: plan.job_id,
        LABEL_FOLDER: str(plan.attempt_dir),
        LABEL_GPUS: str(plan.limits.gpus),
        LABEL_GPU_IDS: "",  # said always: what we leave out, an engine takes from the image
    }


def container_plan(
    plan: AttemptPlan,
    image: RunnableImage,
    prepared: Prepared,
    *,
    owner: str,
    user: str,
    security_opts: tuple[str, ...],
    gpu_ids: tuple[str, ...] = (),
) -> ContainerPlan:
    """``owner`` is written on it, ``user`` is whom it runs as, ``gpu_ids`` are those it gets."""
    limits = plan.limits
    return ContainerPlan(
        name=prepared.name,
        labels=owner_labels(plan, name=prepared.name, owner=owner) | {LABEL_GPU_IDS: ",".join(gpu_ids)},
        image=image,
        command=plan.command,
        env=_env(plan.env, image.env, gpus=limits.gpus),
        user=user,
        bindings=_bindings(plan, prepared),
        cpu_cores=limits.cpu_cores,
        memory_bytes=limits.memory_bytes,
        shm_bytes=limits.shm_bytes,
        tmp_bytes=tmp_bytes(limits),
        gpu_ids=gpu_ids,
        processes=limits.processes,
        file_bytes=None if prepared.output_is_capped else _largest_file_bytes(limits),
        network=plan.network,
        security_opts=security_opts,
    )


def _bindings(plan: AttemptPlan, prepared: Prepared) -> tuple[Binding, ...]:
    shown = {
        f"{WORKSPACE}/input": prepared.input_dir,
        f"{WORKSPACE}/output": prepared.out_dir,
        f"{WORKSPACE}/meta.json": prepared.spec_copy,
    }
    if plan.network == "none":  # on a network the engine writes it
        shown["/etc/hosts"] = prepared.hosts
    return tuple(
        Binding(
            source=source,
            target=target,
            read_only=source != prepared.out_dir,
            propagation=prepared.propagation,
        )
        for target, source in shown.items()
    )


def tmp_bytes(limits: Limits) -> int:
    """The container's /tmp is memory; half of it, as tmpfs has it by default."""
    return max(2**20, limits.memory_bytes // 2)


def _largest_file_bytes(limits: Limits) -> int:
    return max(limits.output_bytes, tmp_bytes(limits)) + FILE_SLACK_BYTES


def _env(asked: Mapping[str, str], image: Mapping[str, str], *, gpus: int) -> dict[str, str]:
    """What the job asks for, and defaults for what neither it nor the image says."""
    given = {name: value for name, value in DEFAULT_ENV.items() if name not in image} | dict(asked)
    return given if gpus else given | NO_GPU_ENV
