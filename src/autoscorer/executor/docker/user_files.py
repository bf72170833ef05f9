"""Whether an engine can open an image's user database without waiting for ever.

It reads /etc/passwd and /etc/group of the image when it starts a container, whoever is to be its user.
At a pipe it waits for ever (20.10), with the container locked: nobody can then ask about it or remove it.
"""

from __future__ import annotations

import base64
import http
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from autoscorer.executor.docker.client import Engine, engine_errors
from autoscorer.executor.docker.containers import remove_container
from autoscorer.utils.errors import AutoscorerError

USER_FILES = ("/etc/passwd", "/etc/group")
_GO_SPECIAL = 1 << 19 | 1 << 21 | 1 << 24 | 1 << 25 | 1 << 26  # irregular, char device, socket, pipe, device


def check_user_files(
    engine: Engine, image_id: str, *, name: str, labels: Mapping[str, str], checked: Path
) -> None:
    """Raise IMAGE_INVALID if one of them is a pipe, a socket or a device.

    Looked at by name alone, in a container ``name`` that shows nothing of ours, is never started and
    removed again. What an image id holds never changes, so those found good are kept in ``checked``.
    """
    vouched = checked / image_id.rpartition(":")[2]
    if vouched.exists():
        return
    body = {
        "Image": image_id,
        "Entrypoint": ["-"],
        "Labels": dict(labels),
        "HostConfig": {"NetworkMode": "none"},
    }
    with engine_errors(
        "creating a container", refused="CONTAINER_CREATE_FAILED", lost="CONTAINER_WAIT_FAILED"
    ):
        container_id = str(engine.api.create_container_from_config(body, name)["Id"])
    try:
        for path in USER_FILES:
            _check(engine, container_id, path)
    finally:
        remove_container(engine, container_id)
    with suppress(OSError):
        checked.mkdir(parents=True, exist_ok=True)
        vouched.touch()


def _check(engine: Engine, container_id: str, path: str) -> None:
    mode, target = _stat(engine, container_id, path)
    if target:  # the engine has followed the links to their end
        mode, _ = _stat(engine, container_id, target)
    if mode & _GO_SPECIAL:
        raise AutoscorerError(
            "IMAGE_INVALID",
            f"{path} of the image is a pipe, a socket or a device.",
            {"file": path, "expected": "a regular file, or none"},
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
