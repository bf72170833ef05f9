"""Whether an engine sees our files, so that it can mount them; asked without making anything there."""

from __future__ import annotations

import http
import secrets
from contextlib import suppress
from pathlib import Path

from autoscorer.executor.docker.client import Engine, engine_errors
from autoscorer.executor.docker.containers import BIND_SOURCE_MISSING
from autoscorer.utils.errors import AutoscorerError

_NO_NAME = "-"  # an engine allows no such name, and says so only after it has looked for what is mounted
_REFUSED = (http.HTTPStatus.BAD_REQUEST, http.HTTPStatus.NOT_FOUND)


def sees_files(engine: Engine, below: Path, *also: Path) -> bool:
    """Whether the engine finds a folder that was made just now in ``below``, under a name nobody can guess,
    and whether there is anything at ``also``.

    It is asked for a container that it must refuse: none is ever made. Raises AutoscorerError when it
    does not answer.
    """
    folder = below / f".seen-{secrets.token_hex(8)}"
    mounts = [
        {"Type": "bind", "Source": str(source), "Target": f"/mnt/{number}", "ReadOnly": True}
        for number, source in enumerate((folder, *also))
    ]
    body = {"Image": "none", "Cmd": ["-"], "HostConfig": {"NetworkMode": "none", "Mounts": mounts}}
    try:
        folder.mkdir(parents=True)
        with engine_errors("asking for our files", refused="CONTAINER_CREATE_FAILED"):
            engine.api.create_container_from_config(body, _NO_NAME)
    except AutoscorerError as exc:
        if BIND_SOURCE_MISSING in str(exc.details.get("engine", "")):
            return False
        if exc.details.get("status") not in _REFUSED:
            raise
    finally:
        with suppress(OSError):
            folder.rmdir()
    return True


def not_shared() -> AutoscorerError:
    return AutoscorerError(
        "RESOURCE_UNAVAILABLE",
        "The Docker engine does not see the workspace's folder, or that of its input: it runs on another "
        "machine or in a container without it. Share both there at the same paths, or let the transport be "
        "auto or stream.",
        {
            "setting": "DOCKER_TRANSPORT",
            "expected": "auto or stream, there or in a node's `transport`, or the workspace and its input at "
            "the same paths where the engine runs",
        },
    )
