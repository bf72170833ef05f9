"""Whether an engine offers what a job was promised: its GPUs, its network, its security options."""

from __future__ import annotations

from collections.abc import Iterable

from autoscorer.executor.docker import seccomp
from autoscorer.executor.docker.client import Engine, engine_errors
from autoscorer.executor.docker.types import EngineFacts
from autoscorer.utils.errors import AutoscorerError

_BUILTIN_SINCE = 23  # before, the engine takes "builtin" for the name of a file


def check_gpus(asked: int, facts: EngineFacts, *, declared: int = 0) -> None:
    """Raise RESOURCE_UNAVAILABLE if the engine has fewer GPUs.

    ``declared`` are those that NODES says it has: an engine before 28.2 does not tell its own.
    """
    if asked > max(declared, facts.gpus):
        raise AutoscorerError(
            "RESOURCE_UNAVAILABLE",
            f"The job asks for {asked} GPUs; the Docker engine here has {facts.gpus}.",
            {"offenders": [f"resources.gpus: {asked}"], "expected": f"at most {facts.gpus}"},
        )


def check_network(name: str, engine: Engine) -> None:
    """Raise RESOURCE_UNAVAILABLE if there is no network of exactly this name."""
    if name == "none":
        return
    with engine_errors("looking for the network"):
        found = engine.api.networks(names=[name])
    if not any(network.get("Name") == name for network in found):
        raise AutoscorerError(
            "RESOURCE_UNAVAILABLE",
            f"The Docker engine has no network {name!r}.",
            {"setting": "ALLOWED_NETWORKS", "expected": f"docker network create --internal {name}"},
        )


def security_opts_for(options: Iterable[str], facts: EngineFacts) -> tuple[str, ...]:
    """The operator's options in effect and, unless they are about it, our filter of system calls.

    Left out is what the engine does not know: the name of its own filter before 23, ours on a machine whose
    calls are not in our table, any filter on a kernel without.
    """
    given = tuple(options)
    if any(option.startswith(("seccomp=", "seccomp:")) for option in given):
        major = facts.version.split(".", 1)[0]
        old = major.isdecimal() and int(major) < _BUILTIN_SINCE
        return tuple(option for option in given if not (old and option == "seccomp=builtin"))
    filters = any("seccomp" in option for option in facts.security_options)
    ours = filters and facts.architecture in seccomp.ARCHITECTURES
    return (*given, seccomp.security_option()) if ours else given
