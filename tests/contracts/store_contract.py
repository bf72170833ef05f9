"""What every store must do, as tests that each store's own test class inherits."""

from __future__ import annotations

from tests.contracts.store_ending import Ending
from tests.contracts.store_keeping import Keeping
from tests.contracts.store_submitting import Submitting
from tests.contracts.store_walks import Walking
from tests.contracts.store_working import Working


class StoreContract(Submitting, Working, Ending, Keeping, Walking):
    """Inherit it and give a fixture ``store`` that uses the fixture ``clock``."""
