"""A broker, a service, and what is counted when they are broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoscorer.store.sql_store import SqlStore
from tests.celery_app.redis import RedisServer, redis_server
from tests.worker.conftest import counting, dice, is_long
from tests.worker.counts import Counts
from tests.worker.sites import Site, make_site

__all__ = ["dice", "is_long"]


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def counts(record_property: Callable[[str, object], None]) -> Iterator[Counts]:
    with counting(record_property, Counts(database="SQLite", broker="Redis")) as counted:
        yield counted


@pytest.fixture
def broker(shared_broker: RedisServer) -> RedisServer:
    """A Redis with nothing in it."""
    if not shared_broker.answers():
        shared_broker.start()
    shared_broker.call("FLUSHALL")
    return shared_broker


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = make_site(tmp_path / "site")
    yield made
    made.close()


@pytest.fixture
def store(site: Site) -> SqlStore:
    return site.open_store()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch, *, is_long: bool) -> None:
    """What `process.HASTE` is to a worker, for the releaser of the test itself."""
    if not is_long:
        monkeypatch.setattr("autoscorer.queues.releasing.LOST_AFTER_S", 2.0)
