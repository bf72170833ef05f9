"""Whether an image can run here, decided from what the engine says of it before anything starts."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from autoscorer.executor.docker.types import EngineFacts, RunnableImage
from autoscorer.executor.image_names import ImageName
from autoscorer.utils.errors import AutoscorerError

DISK_RESERVE_BYTES = 512 * 2**20  # for the container's own layer, its logs, and others
# On the host the operator alone writes there. CUDA images set LD_LIBRARY_PATH to such folders.
_SYSTEM_PATH = re.compile(r"/(?:usr|opt|lib|lib64)(?:/[\w.+-]+)*/?")
_MAX_VOLUMES = 64
_KEPT = ("", "proc", "sys", "dev")


def runnable_image(
    inspected: Mapping[str, Any],
    facts: EngineFacts,
    *,
    name: ImageName,
    command: Sequence[str],
    gpus: int,
    pull_seconds: float | None = None,
) -> RunnableImage:
    """The image, fit to run ``command`` (empty: its own) with ``gpus`` GPUs; ``inspected`` is the engine's.

    Raises IMAGE_INVALID: other architecture or system, nothing to run, environment that no program can be
    started with or that reaches the GPU set-up, volumes that cannot be shadowed.
    """
    config = inspected.get("Config") or {}
    check_platform(str(inspected.get("Os", "")), str(inspected.get("Architecture", "")), facts)
    _check_command(config, command)
    _check_env(config)
    env = image_env(config)
    if gpus:
        check_gpu_env(env)
    volumes = _volumes(config)
    return RunnableImage(
        name=str(name),
        image_id=str(inspected["Id"]),
        repo_digest=_repo_digest(inspected, name),
        volumes=volumes,
        env=env,
        user=str(config.get("User") or ""),
        pull_seconds=pull_seconds,
        warnings=tuple(_warnings(config, volumes)),
    )


def check_platform(system: str, architecture: str, facts: EngineFacts) -> None:
    """Raise IMAGE_INVALID for an image of another system or processor than the engine's."""
    given, here = f"{system}/{architecture}", f"linux/{facts.architecture}"
    if given != here:
        raise AutoscorerError(
            "IMAGE_INVALID",
            f"The image is built for {given}, this engine runs {here}.",
            {"given": given, "expected": here, "example": f"docker build --platform {here} …"},
        )


def check_disk(needed_bytes: int, free_bytes: int | None) -> None:
    """Raise RESOURCE_UNAVAILABLE when what is needed and a reserve do not fit; unknown space is no fault.

    It is the operator's: the size that an image may have is checked elsewhere, as the participant's.
    """
    if free_bytes is not None and free_bytes < needed_bytes + DISK_RESERVE_BYTES:
        raise AutoscorerError(
            "RESOURCE_UNAVAILABLE",
            "The engine's disk is too full for this image.",
            {"needed_bytes": needed_bytes, "reserve_bytes": DISK_RESERVE_BYTES, "free_bytes": free_bytes},
        )


def image_env(config: Mapping[str, Any]) -> dict[str, str]:
    """The environment an image brings; an entry without ``=`` is an empty variable."""
    pairs = (str(entry).partition("=") for entry in config.get("Env") or ())
    return {key: value for key, _, value in pairs if key}


def _check_env(config: Mapping[str, Any]) -> None:
    """Raise IMAGE_INVALID for a variable without a name or with a NUL: no runtime starts that."""
    entries = [str(entry) for entry in config.get("Env") or ()]
    found = [ascii(entry)[1:-1][:60] for entry in entries if entry.startswith("=") or "\0" in entry]
    if found or "" in entries:
        raise AutoscorerError(
            "IMAGE_INVALID",
            "The image sets an environment variable that has no name or holds a NUL.",
            {"offenders": found[:5] or [""], "expected": "NAME=VALUE", "example": "ENV MODEL=small"},
        )


def _check_command(config: Mapping[str, Any], command: Sequence[str]) -> None:
    if command or config.get("Entrypoint") or config.get("Cmd"):
        return
    raise AutoscorerError(
        "IMAGE_INVALID",
        "There is nothing to run: the image has neither entry point nor command, and container.cmd is empty.",
        {
            "expected": "an ENTRYPOINT or CMD in the image, or container.cmd",
            "example": '["python", "predict.py"]',
        },
    )


def check_gpu_env(env: Mapping[str, str]) -> None:
    """Raise IMAGE_INVALID for variables of the dynamic loader.

    The driver's set-up of a GPU container has run with them as root on the host (CVE-2025-23266).
    LD_LIBRARY_PATH passes when it names folders of the system only, as every CUDA image has it.
    """
    found = sorted(
        key for key, value in env.items() if key.upper().startswith("LD_") and not _harmless(key, value)
    )
    if found:
        raise AutoscorerError(
            "IMAGE_INVALID",
            f"The image sets {', '.join(found[:5])}, which is refused for jobs with GPUs.",
            {
                "offenders": found[:5],
                "expected": "no LD_ variables but an LD_LIBRARY_PATH of folders under /usr, /opt and /lib",
                "example": "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
            },
        )


def _harmless(key: str, value: str) -> bool:
    return key == "LD_LIBRARY_PATH" and all(
        _SYSTEM_PATH.fullmatch(part) and ".." not in part.split("/") for part in value.split(":")
    )


def _volumes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The declared volumes, each path once and in its plain form. Raises IMAGE_INVALID."""
    declared = sorted({posixpath.normpath(path) for path in config.get("Volumes") or {}})
    bad = [path for path in declared if not path.startswith("/") or path.split("/")[1] in _KEPT]
    if bad or len(declared) > _MAX_VOLUMES:
        raise AutoscorerError(
            "IMAGE_INVALID",
            "The image declares volumes that cannot be had here.",
            {
                "offenders": bad[:5] or [f"{len(declared)} volumes"],
                "expected": f"at most {_MAX_VOLUMES} absolute paths, none of /, /proc, /sys, /dev",
            },
        )
    return tuple(declared)


def _repo_digest(inspected: Mapping[str, Any], name: ImageName) -> str | None:
    """The digest under which a registry gave this image by this name."""
    for text in inspected.get("RepoDigests") or ():
        repo, _, digest = text.partition("@")
        if repo == name.repo and (name.digest is None or name.digest == digest):
            return str(digest)
    return None


def _warnings(config: Mapping[str, Any], volumes: Sequence[str]) -> list[str]:
    """What the image asks for and does not get."""
    warnings = []
    if str(config.get("User") or "root").partition(":")[0] in ("root", "0"):
        warnings.append("the image's user is root; the program runs as another user")
    if volumes:
        shown = ", ".join(volumes[:5])
        warnings.append(f"the volumes the image declares are empty, bounded and in memory: {shown}")
    if (config.get("Healthcheck") or {}).get("Test"):
        warnings.append("the image's health check is off")
    return warnings
