"""The memory store keeps the contract."""

from __future__ import annotations

import pytest

from autoscorer.store.base import Store
from autoscorer.store.memory_store import MemoryStore
from tests.contracts.store_contract import StoreContract
from tests.store.clocks import MovableClock


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self, clock: MovableClock) -> Store:
        return MemoryStore(clock=clock)
