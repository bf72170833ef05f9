"""A file of a result onto the disk: whole or not at all, taken up where it broke off, checked by its hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from autoscorer.client.connection import Connection, may_pass
from autoscorer.schemas.service import ArtifactView
from autoscorer.utils.errors import AutoscorerError

_RESTARTS = 8
_CHUNK_BYTES = 2**20


class _NotWholeError(Exception):
    """What has arrived is not the file."""


def download(connection: Connection, path: str, artifact: ArtifactView, target: Path) -> Path:
    """``artifact``, to be had at ``path``, as the file ``target``, which is replaced when all is there.

    What has come stays beside it as ``<target>.part`` until then, also of a call that failed, and the next
    goes on from there. Raises AutoscorerError; SERVICE_UNREACHABLE when what arrives has another hash.
    """
    part = target.with_name(f"{target.name}.part")
    went_on_from = -1
    for _ in range(_RESTARTS):
        try:
            connection.retried(lambda: _go_on(connection, path, artifact, part))
            _check(part, artifact)
            part.replace(target)
            return target
        except _NotWholeError:
            part.unlink(missing_ok=True)
        except AutoscorerError as exc:  # it broke off; what has come is progress, else give up
            come = part.stat().st_size if part.exists() else 0
            if not may_pass(exc) or come <= went_on_from:
                raise
            went_on_from = come
    message = f"{connection.url}{path} gives a file with another hash than the result names"
    raise AutoscorerError("SERVICE_UNREACHABLE", message, {"expected_sha256": artifact.sha256})


def _go_on(connection: Connection, path: str, artifact: ArtifactView, part: Path) -> None:
    """Append what is missing."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "r+b") as file:
        have = file.seek(0, os.SEEK_END)
        if have > artifact.size:
            raise _NotWholeError
        if have == artifact.size:
            return
        headers = {"Range": f"bytes={have}-", "If-Range": f'"{artifact.sha256}"'} if have else {}
        with connection.stream(path, headers=headers) as response:
            if response.status_code != 206:  # the whole of it
                file.seek(0)
                file.truncate()
            elif not response.headers.get("content-range", "").startswith(f"bytes {have}-"):
                raise _NotWholeError
            for chunk in response.iter_raw():  # chunks of a size would be lost in a break
                if file.tell() + len(chunk) > artifact.size:
                    raise _NotWholeError
                file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _check(part: Path, artifact: ArtifactView) -> None:
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != artifact.sha256:
        raise _NotWholeError
