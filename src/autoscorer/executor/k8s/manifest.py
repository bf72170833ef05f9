"""An attempt in the cluster's words: one pure function, so that what is enforced can be read.

Everything is said, also what is a default today: a cluster's or a namespace's must not weaken it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoscorer.executor.base import AttemptPlan, Limits
from autoscorer.executor.k8s.naming import (
    ANNOTATION_JOB,
    MAIN,
    SIDECAR,
    labels,
)
from autoscorer.executor.streaming.scripts import DATA, VOLUMES_AT, await_script, unpack_script, watch_script
from autoscorer.utils.config import Settings

WORKSPACE = "/workspace"
HOSTNAME = "autoscorer"
USER = 65534
DEFAULT_ENV = {"HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 - the container's
# Where NVIDIA's is the node's usual runtime, a mere variable of the image or the job gives all GPUs.
NO_GPU_ENV = {"NVIDIA_VISIBLE_DEVICES": "void"}
GPU = "nvidia.com/gpu"
TERMINATE_GRACE_S = 2
COLLECT_S = 900  # after the program: its output measured and brought back
JOB_SLACK_S = 300  # the pod's own deadline says what happened, the Job's only that it is over
KEEP_S = 600  # a Job that nobody removed
LOG_ROOM_BYTES = 256 * 2**20  # its log lies on the node's disk and counts with what it writes
SIDECAR_MEMORY = "128Mi"
PULL_POLICIES = {"always": "Always", "ifnotpresent": "IfNotPresent", "never": "Never"}


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """Where the data of an attempt lie on a claim, by paths relative to the volume's root."""

    claim: str
    view_path: str
    input_path: str
    output_path: str


def job_manifest(
    plan: AttemptPlan,
    settings: Settings,
    *,
    name: str,
    image: str,
    claimed: Claimed | None = None,
    enclosed: bytes | None = None,
) -> dict[str, Any]:
    """The Job of one attempt: one pod, one try. ``claimed``: its data are on a volume; ``enclosed``: they
    are these; else they are streamed. With K8S_STORAGE_CLASS into a claim that has the Job's name.

    It names no owner yet: that is not part of what runs.
    """
    given = labels(name, network=plan.network)
    deadline = settings.k8s_start_timeout_s + int(plan.limits.time_limit_s) + COLLECT_S
    metadata = {"labels": given, "annotations": {ANNOTATION_JOB: plan.job_id}}
    own = name if settings.k8s_storage_class else None
    containers = [_main(plan, settings, image=image, mounts=_mounts(claimed, own))]
    if claimed is None:
        containers.insert(0, _sidecar(plan.limits, settings, enclosed, own=own))
    volumes = _volumes(plan.limits, claimed, own=own)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, **metadata},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": deadline + JOB_SLACK_S,
            "ttlSecondsAfterFinished": KEEP_S,
            "template": {
                "metadata": metadata,
                "spec": _pod(plan, settings, containers, volumes=volumes, deadline=deadline),
            },
        },
    }


def _pod(
    plan: AttemptPlan,
    settings: Settings,
    containers: list[dict[str, Any]],
    *,
    volumes: list[dict[str, Any]],
    deadline: int,
) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": deadline,
        "terminationGracePeriodSeconds": TERMINATE_GRACE_S,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostname": HOSTNAME,
        "hostNetwork": False,
        "hostPID": False,
        "hostIPC": False,
        "shareProcessNamespace": False,
        **_names(plan.network),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            **({"fsGroup": USER} if settings.k8s_storage_class else {}),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_placement(settings),
        "containers": containers,
        "volumes": volumes,
    }


def _names(network: str) -> dict[str, Any]:
    """Without a network nothing is looked up, and no name of the cluster's is told."""
    if network != "none":
        return {"dnsPolicy": "ClusterFirst"}
    return {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["127.0.0.1"]}}


def _placement(settings: Settings) -> dict[str, Any]:
    secret = settings.k8s_image_pull_secret
    wanted = {
        "imagePullSecrets": [{"name": secret}] if secret else None,
        "runtimeClassName": settings.k8s_runtime_class,
        "priorityClassName": settings.k8s_priority_class,
        "nodeSelector": dict(settings.k8s_node_selector),
        "tolerations": [dict(toleration) for toleration in settings.k8s_tolerations],
    }
    return {key: value for key, value in wanted.items() if value}


def _main(
    plan: AttemptPlan, settings: Settings, *, image: str, mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "name": MAIN,
        "image": image,
        "imagePullPolicy": PULL_POLICIES[settings.image_pull_policy],
        # As in Docker: arguments of the image's entry point, if it has one.
        "args": [_literal(part) for part in plan.command],
        "env": _env(plan.env, gpus=plan.limits.gpus),
        "workingDir": WORKSPACE,
        "stdin": False,
        "tty": False,
        "securityContext": _confined(),
        "resources": _resources(plan.limits),
        "volumeMounts": [
            *mounts,
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the container's
        ],
    }


def _mounts(claimed: Claimed | None, own: str | None) -> list[dict[str, Any]]:
    return _claimed_mounts(claimed) if claimed else _streamed_mounts(own)


def _streamed_mounts(own: str | None) -> list[dict[str, Any]]:
    """The mount point of output/ is a folder that the sidecar makes last, on a volume that is read-only
    here: so no runtime can start the program before its data are complete.
    """
    return [
        {**_place("workspace", own), "mountPath": WORKSPACE, "readOnly": True},
        {**_place("output", own), "mountPath": f"{WORKSPACE}/output"},
    ]


def _place(name: str, own: str | None) -> dict[str, Any]:
    """Where streamed data lie: a volume of that name, or a folder of the job's own claim."""
    return {"name": "own", "subPath": name} if own else {"name": name}


def _claimed_mounts(claimed: Claimed) -> list[dict[str, Any]]:
    """/workspace is a view of ours, which holds meta.json and the mount points of what lies elsewhere."""
    shown = {
        WORKSPACE: (claimed.view_path, True),
        f"{WORKSPACE}/input": (claimed.input_path, True),
        f"{WORKSPACE}/output": (claimed.output_path, False),
    }
    return [
        {"name": "claim", "mountPath": target, "subPath": path, "readOnly": read_only}
        for target, (path, read_only) in shown.items()
    ]


def _sidecar(
    limits: Limits, settings: Settings, enclosed: bytes | None, *, own: str | None
) -> dict[str, Any]:
    """Ours. It starts first, and the program only when the data are there; it measures what is written."""
    if enclosed is None:
        ready, given = await_script(settings.k8s_start_timeout_s), {}
    else:
        ready = unpack_script(len(enclosed))
        given = {"env": [{"name": DATA, "value": base64.b64encode(enclosed).decode("ascii")}]}
    return {
        "name": SIDECAR,
        "image": settings.k8s_helper_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", watch_script(limits)],
        **given,
        "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", ready]}}},
        "workingDir": "/",
        "securityContext": _confined(),
        "resources": {
            "requests": {"cpu": "10m", "memory": SIDECAR_MEMORY},
            "limits": {"cpu": "1", "memory": SIDECAR_MEMORY},
        },
        "volumeMounts": [
            {**_place("workspace", own), "mountPath": f"{VOLUMES_AT}/workspace"},
            {**_place("output", own), "mountPath": f"{VOLUMES_AT}/output"},
        ],
    }


def _confined() -> dict[str, Any]:
    return {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _resources(limits: Limits) -> dict[str, Any]:
    """Requests are limits: what a job gets does not depend on its neighbours."""
    amounts = {
        "cpu": f"{max(1, round(limits.cpu_cores * 1000))}m",
        "memory": str(limits.memory_bytes),
        "ephemeral-storage": str(output_room(limits) + LOG_ROOM_BYTES),
    }
    if limits.gpus:
        amounts[GPU] = str(limits.gpus)
    return {"requests": amounts, "limits": amounts}


def output_room(limits: Limits) -> int:
    """Of the volume: a little more than may be harvested, so that the harvest can name what is too much."""
    return limits.output_bytes + 2**20


def tmp_bytes(limits: Limits) -> int:
    """What a program has for temporary files is memory of its own: half of it, as tmpfs has it by default."""
    return max(2**20, limits.memory_bytes // 2)


def _volumes(limits: Limits, claimed: Claimed | None, *, own: str | None) -> list[dict[str, Any]]:
    memory = {
        "tmp": {"medium": "Memory", "sizeLimit": str(tmp_bytes(limits))},
        "shm": {"medium": "Memory", "sizeLimit": str(limits.shm_bytes)},
    }
    ours: list[dict[str, Any]] = [{"name": name, "emptyDir": spec} for name, spec in memory.items()]
    if claimed:
        return [{"name": "claim", "persistentVolumeClaim": {"claimName": claimed.claim}}, *ours]
    if own:
        return [{"name": "own", "persistentVolumeClaim": {"claimName": own}}, *ours]
    streamed = {"workspace": {}, "output": {"sizeLimit": str(output_room(limits))}}
    return [*({"name": name, "emptyDir": spec} for name, spec in streamed.items()), *ours]


def _env(asked: Mapping[str, str], *, gpus: int) -> list[dict[str, str]]:
    given = DEFAULT_ENV | dict(asked) | ({} if gpus else NO_GPU_ENV)
    return [{"name": name, "value": _literal(value)} for name, value in given.items()]


def _literal(text: str) -> str:
    """Kubernetes would put variables in for ``$(NAME)``; a program's text is its own."""
    return text.replace("$", "$$")
