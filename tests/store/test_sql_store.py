"""The SQL store keeps the contract, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autoscorer.store.base import Store
from autoscorer.store.sql_store import SqlStore
from tests.contracts.store_contract import StoreContract
from tests.store.clocks import MovableClock

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, clock: MovableClock, sqlite_url: str) -> Iterator[Store]:
        store = SqlStore(sqlite_url, clock=clock)
        yield store
        store.close()


@pytest.mark.slow
@pytest.mark.postgres
class TestPostgresStore(StoreContract):
    @pytest.fixture
    def store(self, clock: MovableClock, postgres_url: str) -> Iterator[Store]:
        store = SqlStore(postgres_url, clock=clock)
        yield store
        store.close()
