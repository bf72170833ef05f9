"""Engines as on another machine: they listen on TCP and see nothing of the workspaces."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.executor.docker.containers import BUSYBOX
from tests.executor.docker.own_engine import OwnEngine, own_engine

SIDECAR = {"docker_helper_image": BUSYBOX}


@contextmanager
def far_engine(hidden: Path, *, certificates: Path | None = None) -> Iterator[OwnEngine]:
    """One that does not see ``hidden``."""
    folder = Path(tempfile.mkdtemp(prefix="autoscorer-", dir="/var/tmp"))
    try:
        with own_engine(folder / "engine", hidden=hidden, certificates=certificates) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def left_on(engine: OwnEngine) -> list[str]:
    """Containers and volumes that are there."""
    found = engine.docker("ps", "-aq").stdout + engine.docker("volume", "ls", "-q").stdout
    return found.decode().split()
