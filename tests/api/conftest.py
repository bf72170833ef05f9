from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.sites import ApiSite, close_api_site, make_api_site


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiSite]:
    """A service over SQLite."""
    made = make_api_site(tmp_path)
    yield made
    close_api_site(made)
