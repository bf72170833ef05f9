"""A container's plan in the engine's words: one pure function, so that what is enforced can be read.

Everything is said, also what is the engine's default today: an engine's configuration must not weaken it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from autoscorer.executor.docker.types import Binding, ContainerPlan

WORKSPACE = "/workspace"
CPU_PERIOD_US = 100_000
MIN_MEMORY_BYTES = 6 * 2**20  # the engine refuses less
OPEN_FILES = 4096
OOM_SCORE = 1000  # if the machine runs out of memory, the program goes before us
HOSTNAME = "autoscorer"
# Of /proc and /sys, what tells of the machine or changes it: what Docker 28 covers, on every engine.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_NO_NEW_PRIVILEGES = "no-new-privileges"
# Nothing of a tmpfs is ever set-uid or a device. /tmp may execute: what is compiled at run time
# (numba, torch) is loaded from there, and /workspace/output could hold it as well.
_TMP = "rw,exec,nosuid,nodev,mode=1777"
# What lies on top of it is ours; the image cannot put a link or a file where we mount.
_WORKSPACE = "ro,noexec,nosuid,nodev,mode=755,size=64k"


def create_body(plan: ContainerPlan, *, init: bool = True) -> dict[str, Any]:
    """The body of the engine's create call. ``init``: with docker-init as first process."""
    return {
        "Image": plan.image.image_id,
        "Cmd": list(plan.command) or None,
        "Env": [f"{name}={value}" for name, value in plan.env.items()],
        "User": plan.user,
        "WorkingDir": WORKSPACE,
        "Hostname": HOSTNAME,
        "Domainname": "",
        # A namespace with nothing but lo, made by the runtime. By the name "none" alone the engine would
        # also make a sandbox that nobody uses and run itself again for it: 0.1 to 0.2 s.
        "NetworkDisabled": plan.network == "none",
        "Labels": dict(plan.labels),
        "Healthcheck": {"Test": ["NONE"]},
        "Tty": False,
        "OpenStdin": False,
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": _host_config(plan, init=init),
    }


def _host_config(plan: ContainerPlan, *, init: bool) -> dict[str, Any]:
    memory_bytes = max(plan.memory_bytes, MIN_MEMORY_BYTES)
    return {
        "AutoRemove": False,  # we read its state first
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "Init": init,
        "LogConfig": {"Type": "none", "Config": {}},  # its output comes to us and to no disk of the engine
        **_identity(plan),
        **_namespaces(plan),
        "Memory": memory_bytes,
        "MemorySwap": memory_bytes,  # memory and swap together: so no swap
        "MemorySwappiness": 0,
        "OomKillDisable": False,
        "OomScoreAdj": OOM_SCORE,
        "CpuPeriod": CPU_PERIOD_US,
        # Not NanoCpus: with it an engine refuses more cores than it has.
        "CpuQuota": max(1000, round(plan.cpu_cores * CPU_PERIOD_US)),
        "PidsLimit": plan.processes,
        "Ulimits": _ulimits(plan),
        "ShmSize": plan.shm_bytes,
        "ReadonlyRootfs": True,
        "MaskedPaths": list(MASKED_PATHS),
        "ReadonlyPaths": list(READ_ONLY_PATHS),
        "Tmpfs": _tmpfs(plan),
        "Mounts": [_mount(binding) for binding in plan.bindings],
        "DeviceRequests": _gpus(plan.gpu_ids),
    }


def _identity(plan: ContainerPlan) -> dict[str, Any]:
    given = [option for option in plan.security_opts if not option.startswith(_NO_NEW_PRIVILEGES)]
    return {
        "Privileged": False,
        "CapAdd": [],
        "CapDrop": ["ALL"],
        "GroupAdd": [],
        "SecurityOpt": [_NO_NEW_PRIVILEGES, *given],
    }


def _namespaces(plan: ContainerPlan) -> dict[str, Any]:
    return {
        "NetworkMode": plan.network,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "",
        "PublishAllPorts": False,
    }


def _ulimits(plan: ContainerPlan) -> list[dict[str, Any]]:
    limits = {"core": 0, "nofile": OPEN_FILES}
    if plan.file_bytes is not None:
        limits["fsize"] = plan.file_bytes
    return [{"Name": name, "Soft": value, "Hard": value} for name, value in limits.items()]


def _tmpfs(plan: ContainerPlan) -> Mapping[str, str]:
    """Ours, and one over each volume that the image declares: else the engine makes one on its disk."""
    ours = {"/tmp": f"{_TMP},size={plan.tmp_bytes}", WORKSPACE: _WORKSPACE}  # noqa: S108 - the container's
    taken = {*ours, *(binding.target for binding in plan.bindings)}
    declared = sorted({posixpath.normpath("/" + path.lstrip("/")) for path in plan.image.volumes})
    return ours | {path: f"{_TMP},size={plan.volume_bytes}" for path in declared if path not in taken}


def _mount(binding: Binding) -> dict[str, Any]:
    """By type bind, never by `Binds`: that would make a folder where the engine does not see ours."""
    return {
        "Type": "bind",
        "Source": str(binding.source),
        "Target": binding.target,
        "ReadOnly": binding.read_only,
        "BindOptions": {"Propagation": binding.propagation},
    }


def _gpus(ids: Sequence[str]) -> list[dict[str, Any]]:
    """By name: by number alone the engine gives every container the same first ones."""
    return [{"Driver": "nvidia", "DeviceIDs": list(ids), "Capabilities": [["gpu"]]}] if ids else []
