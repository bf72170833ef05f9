"""What a stack is made of, and what is counted when it is broken."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.executor.docker.own_engine import OwnEngine, own_engine
from tests.store.postgres import Server, postgres
from tests.worker.conftest import counting, dice, is_long
from tests.worker.counts import Counts

__all__ = ["dice", "is_long"]


@pytest.fixture
def database() -> Iterator[Server]:
    """A PostgreSQL that nobody else uses: it is stopped and started."""
    with postgres() as server:
        yield server


@pytest.fixture
def engine() -> Iterator[OwnEngine]:
    """A dockerd that nobody else uses."""
    folder = Path(tempfile.mkdtemp(prefix="autoscorer-"))  # short enough for a socket's name
    with own_engine(folder / "engine") as made:
        yield made
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def counts(record_property: Callable[[str, object], None]) -> Iterator[Counts]:
    with counting(record_property, Counts(database="PostgreSQL", broker="Redis")) as counted:
        yield counted
