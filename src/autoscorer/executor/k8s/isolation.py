"""What keeps a pod apart, in the words of `confine.properties`: a pure function."""

from __future__ import annotations

from autoscorer.confine import properties
from autoscorer.executor.base import Isolation

FILESYSTEM = "only the image and the workspace are visible"
VOLUMES = "image volumes are bounded"
PROCESS_LIMIT = "process limit (cgroup)"
_ALWAYS = (
    FILESYSTEM,
    properties.READ_ONLY,
    properties.PROCESSES,
    properties.IPC,
    properties.CAPABILITIES,
    properties.USER_NAMESPACES,
    properties.SECCOMP,
    properties.NO_NEW_PRIVILEGES,
    properties.CLEAN_ENVIRONMENT,
    properties.HOST_USER,
    properties.WHOLE_TREE,
    properties.TIME,
    properties.LOG,
    properties.OUTPUT,
    "memory limit (cgroup)",
    "cpu limit (cgroup)",
)


def isolation_report(*, network: str, network_enforced: bool) -> Isolation:
    """``network_enforced``: the operator's word. How many processes a pod may have is the node's affair."""
    held = dict.fromkeys(_ALWAYS, True)
    held[properties.NETWORK] = network == "none" and network_enforced
    held |= dict.fromkeys((properties.DISK, PROCESS_LIMIT, VOLUMES), False)
    return Isolation(
        backend="k8s",
        mode="pod",
        enforced=tuple(name for name, holds in held.items() if holds),
        not_enforced=tuple(name for name, holds in held.items() if not holds),
    )
