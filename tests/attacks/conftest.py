"""What the attack tests share: the engine of this machine and an arena on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.arena import Arena, connect
from tests.attacks.images import Images
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
def arena(engine: Any, host: str, images: Images, tmp_path: Path) -> Arena:
    return Arena(engine=engine, host=host, root=tmp_path, images=images)


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Record:
    return Record(record_property)
