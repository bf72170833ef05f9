"""What the attack tests share: the engine of this machine and an arena on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.arena import Arena, connect
from tests.attacks.images import Images
from tests.attacks.leftovers import mounts_below
from tests.attacks.proxy import Proxy, proxy
from tests.attacks.record import Record


@pytest.fixture(scope="session")
def host() -> str:
    return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


@pytest.fixture(scope="session")
def engine(host: str) -> Iterator[Any]:
    client = connect(host)
    yield client
    client.close()


@pytest.fixture(scope="session")
def images(engine: Any) -> Iterator[Images]:
    images = Images(engine)
    yield images
    images.remove()


@pytest.fixture
def arena(engine: Any, host: str, images: Images, tmp_path: Path) -> Iterator[Arena]:
    yield Arena(engine=engine, host=host, root=tmp_path, images=images)
    unmount_below(tmp_path)


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Record:
    return Record(record_property)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a path short enough for a socket's name."""
    folder = Path(tempfile.mkdtemp(prefix="autoscorer-"))
    yield folder
    unmount_below(folder)  # an engine that was killed leaves its data folder mounted
    shutil.rmtree(folder)


def unmount_below(folder: Path) -> None:
    """What a test that failed has left there must not make the clean-up fail too."""
    for target in mounts_below(folder):
        subprocess.run(["umount", "-l", target], check=True)


@pytest.fixture
def between(arena: Arena, short_path: Path) -> Iterator[Proxy]:
    """A proxy that the arena's jobs go through."""
    with proxy(short_path, arena.host) as state:
        arena.host = state.host
        yield state
