"""Whether an image's files would keep an engine from setting a container up: looked at by name alone.

The engine reads /etc/passwd and /etc/group of the image when it starts a container, whoever is to be
its user. At a pipe it waits for ever (20.10), with the container locked: nobody can then ask about it or
remove it. And what is mounted over a link into /proc fails in ways that look like the engine's fault.
"""

from __future__ import annotations

import base64
import http
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from autoscorer.executor.docker.client import Engine, engine_errors
from autoscorer.executor.docker.containers import remove_container
from autoscorer.executor.docker.types import RunnableImage
from autoscorer.utils.errors import AutoscorerError

USER_FILES = ("/etc/passwd", "/etc/group")
KERNELS = ("/proc", "/sys", "/dev")
# Where engine and runtime mount, with what leads there.
MOUNTED = ("/workspace", "/tmp", "/etc", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/sbin")  # noqa: S108
_GO_SPECIAL = 1 << 19 | 1 << 21 | 1 << 24 | 1 << 25 | 1 << 26  # irregular, char device, socket, pipe, device


def check_image_files(
    engine: Engine, image: RunnableImage, *, name: str, labels: Mapping[str, str], checked: Path
) -> None:
    """Raise IMAGE_INVALID for an image on which a container could not be set up.

    Looked at in a container ``name`` that shows nothing of ours, is never started and removed again.
    What an image id holds never changes, so those found good are kept in ``checked``.
    """
    vouched = checked / image.image_id.rpartition(":")[2]
    if vouched.exists():
        return
    body = {
        "Image": image.image_id,
        "Entrypoint": ["-"],
        "Labels": dict(labels),
        # Else the engine would make each volume on its disk and copy the image's files into it.
        "HostConfig": {"NetworkMode": "none", "Tmpfs": dict.fromkeys(image.volumes, "size=4k")},
    }
    with engine_errors(
        "creating a container", refused="CONTAINER_CREATE_FAILED", lost="CONTAINER_WAIT_FAILED"
    ):
        container_id = str(engine.api.create_container_from_config(body, name)["Id"])
    try:
        for path in USER_FILES:
            _check_user_file(engine, container_id, path)
        for path in dict.fromkeys((*MOUNTED, *KERNELS, *_with_parents(image.volumes))):
            _check_place(engine, container_id, path)
    finally:
        remove_container(engine, container_id)
    with suppress(OSError):
        checked.mkdir(parents=True, exist_ok=True)
        vouched.touch()


def _with_parents(volumes: Iterable[str]) -> Iterator[str]:
    for volume in volumes:
        path = PurePosixPath("/", volume)
        yield from (str(place) for place in (path, *path.parents) if place != PurePosixPath("/"))


def _check_user_file(engine: Engine, container_id: str, path: str) -> None:
    mode, target = _stat(engine, container_id, path)
    if target:  # the engine has followed the links to their end
        mode, _ = _stat(engine, container_id, target)
    if mode & _GO_SPECIAL:
        raise AutoscorerError(
            "IMAGE_INVALID",
            f"{path} of the image is a pipe, a socket or a device.",
            {"file": path, "expected": "a regular file, or none"},
        )


def _check_place(engine: Engine, container_id: str, path: str) -> None:
    _, target = _stat(engine, container_id, path)
    if target and (path in KERNELS or f"{target}/".startswith(tuple(f"{place}/" for place in KERNELS))):
        raise AutoscorerError(
            "IMAGE_INVALID",
            f"{path} of the image is a link to a place that belongs to the kernel.",
            {"file": path, "expected": "a folder, or nothing"},
        )


def _stat(engine: Engine, container_id: str, path: str) -> tuple[int, str]:
    """(mode as Go has it, where a link leads); mode 0 if there is nothing."""
    # What keeps the engine from looking is how the image's files lie.
    with engine_errors("looking at the image", refused="IMAGE_INVALID", lost="CONTAINER_WAIT_FAILED"):
        url = engine.api._url("/containers/{0}/archive", container_id)
        response = engine.api.head(url, params={"path": path}, timeout=engine.api.timeout)
        if response.status_code == http.HTTPStatus.NOT_FOUND:
            return 0, ""
        engine.api._raise_for_status(response)
    found = json.loads(base64.b64decode(response.headers["X-Docker-Container-Path-Stat"]))
    return int(found["mode"]), str(found["linkTarget"])
