"""Services to break, on each kind of database, and what is counted of it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.store.conftest import postgres_server, postgres_url
from tests.worker.counts import Counts
from tests.worker.process import Workers, workers
from tests.worker.sites import Site, make_site

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.long])])
def any_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A service on each kind of database in turn."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    site = make_site(tmp_path / "site", url)
    yield site
    site.close()


@pytest.fixture
def any_crew(any_site: Site) -> Iterator[Workers]:
    with workers(any_site) as crew:
        yield crew


@pytest.fixture
def dice() -> random.Random:
    """Chance that can be had again: the seed that `make chaos` prints."""
    return random.Random(os.environ.get("CHAOS_SEED", "0"))


@contextmanager
def counting(record: Callable[[str, object], None], counted: Counts) -> Iterator[Counts]:
    """Write down what has been counted by the block's end."""
    try:
        yield counted
    finally:
        for name, value in vars(counted).items():
            record(f"chaos_{name}", value)


@pytest.fixture
def counts(record_property: Callable[[str, object], None]) -> Iterator[Counts]:
    """What `make chaos` writes down of the test; `Counts.check` fails it."""
    with counting(record_property, Counts(database="SQLite")) as counted:
        yield counted


@pytest.fixture
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether the long tests were asked for: then there are more tries."""
    return "not long" not in str(request.config.getoption("-m"))
