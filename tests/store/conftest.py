"""Databases for the tests: PostgreSQL once for a run, its tables emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from autoscorer.store.sql.tables import metadata
from autoscorer.store.sql_store import SqlStore, open_store
from tests.store.postgres import Server, postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    with postgres() as server:
        open_store(server.url()).close()
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> str:
    """A PostgreSQL database with empty tables."""
    engine = create_engine(postgres_server.url())
    with engine.begin() as connection:
        tables = ", ".join(table.name for table in metadata.sorted_tables)
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    engine.dispose()
    return postgres_server.url()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    open_store(url).close()
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.slow])])
def database_url(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    """A store on each kind of database."""
    store = SqlStore(database_url)
    yield store
    store.close()


@pytest.fixture
def acme(store: SqlStore) -> str:
    """The id of an organisation in it."""
    return store.access.add_organisation("acme").organisation_id
