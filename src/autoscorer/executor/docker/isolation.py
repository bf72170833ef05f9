"""What kept a container apart, in the words of `confine.properties`: a pure function."""

from __future__ import annotations

from collections.abc import Iterable

from autoscorer.confine import properties
from autoscorer.executor.base import Isolation
from autoscorer.executor.docker.types import EngineFacts

FILESYSTEM = "only the image and the workspace are visible"
OUTPUT_FILE_SYSTEM = "output limit (file system)"
FIRST_PROCESS = "zombies are reaped (init)"
SWAP = "no swap"
_CAPS = ("memory limit (cgroup)", "process limit (cgroup)", "cpu limit (cgroup)")
_ALWAYS = (
    FILESYSTEM,
    properties.READ_ONLY,
    properties.PROCESSES,
    properties.IPC,
    properties.CAPABILITIES,
    properties.NO_NEW_PRIVILEGES,
    properties.CLEAN_ENVIRONMENT,
    properties.WHOLE_TREE,
    properties.TIME,
    properties.LOG,
)
# A part of an engine's warning at create, and what is lost with it.
_WARNINGS = {
    "swap limit": (SWAP,),
    "memory limit": ("memory limit (cgroup)", SWAP),
    "pids limit": ("process limit (cgroup)",),
    "CPU CFS quota": ("cpu limit (cgroup)",),
    "CPU CFS period": ("cpu limit (cgroup)",),
}


def isolation_report(
    facts: EngineFacts,
    *,
    network: str,
    security_opts: Iterable[str],
    host_user_differs: bool,
    init: bool,
    output_is_capped: bool,
    warnings: Iterable[str],
) -> Isolation:
    """``security_opts`` are those the container was made with. ``warnings`` are the engine's, at create: a
    kernel without a controller is told there.
    """
    held = dict.fromkeys((*_ALWAYS, *_CAPS, SWAP), True)
    filtered = _filters_calls(facts, tuple(security_opts))
    held[properties.NETWORK] = network == "none"
    held[properties.SECCOMP] = held[properties.USER_NAMESPACES] = filtered
    held[properties.HOST_USER] = host_user_differs
    held[FIRST_PROCESS] = init
    held[OUTPUT_FILE_SYSTEM if output_is_capped else properties.OUTPUT] = True
    held[properties.DISK] = output_is_capped
    for text in warnings:
        for part, lost in _WARNINGS.items():
            if part in text and "not support" in text:
                held |= dict.fromkeys(lost, False)
    return Isolation(
        backend="docker",
        mode="container",
        enforced=tuple(name for name, holds in held.items() if holds),
        not_enforced=tuple(name for name, holds in held.items() if not holds),
    )


def _filters_calls(facts: EngineFacts, security_opts: tuple[str, ...]) -> bool:
    """By the container's own filter, else by the one that the engine has for all."""
    given = [option for option in security_opts if option.startswith(("seccomp=", "seccomp:"))]
    if given and "builtin" not in given[-1]:
        return "unconfined" not in given[-1]
    return any("seccomp" in option and "unconfined" not in option for option in facts.security_options)
