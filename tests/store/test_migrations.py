"""The migrations lead from nothing to exactly the tables the code works with."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, text

from autoscorer.store.sql import database
from autoscorer.store.sql.tables import metadata
from autoscorer.store.sql_store import SqlStore, open_file, open_store
from autoscorer.utils.errors import AutoscorerError
from tests.store.postgres import Server

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them

INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
}


@pytest.fixture
def empty_postgres_url(postgres_server: Server) -> Iterator[str]:
    admin = create_engine(postgres_server.url(), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE empty"))
    yield postgres_server.url("empty")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE empty WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.slow])])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'jobs.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


def test_a_database_from_nothing_has_the_tables_of_the_code(empty_url: str) -> None:
    open_store(empty_url).close()
    engine = create_engine(empty_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_its_indexes_are_those_of_the_code_conditions_included(empty_url: str) -> None:
    """Alembic does not compare the conditions of partial indexes; the database's own words are compared."""
    open_store(empty_url).close()
    engine = create_engine(empty_url)
    migrated = _indexes(engine)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    made = _indexes(engine)
    engine.dispose()
    assert len(made) > 10
    assert {name: migrated[name] for name in made} == made


def _indexes(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        rows = connection.execute(text(INDEXES[engine.dialect.name]))
        return {name: re.sub(r"\s+", " ", sql) for name, sql in rows}


def test_opening_it_again_changes_nothing(empty_url: str) -> None:
    first = open_store(empty_url)
    first.access.add_organisation("acme")
    again = open_store(empty_url)
    assert [found.name for found in again.access.organisations()] == ["acme"]
    first.close()
    again.close()


def test_eight_that_open_it_at_once_make_it_once(empty_url: str) -> None:
    failures: list[BaseException] = []

    def opening() -> None:
        try:
            open_store(empty_url).close()
        except BaseException as exc:
            failures.append(exc)
            raise

    threads = [threading.Thread(target=opening) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("is_patient", [True, False])
def test_whoever_opens_a_file_that_another_makes_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_patient: bool
) -> None:
    """Control: who does not try again is refused at once, for all the time-out that SQLite has been told."""
    if not is_patient:
        monkeypatch.setattr(database, "_WAL_BACK_OFF", replace(database._WAL_BACK_OFF, tries=1))
    path = tmp_path / "jobs.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE made (by_another INTEGER)")
    other.execute("BEGIN IMMEDIATE")
    if is_patient:
        ending = threading.Timer(1.0, other.close)
        ending.start()
        open_file(path).close()
        ending.join()
    else:
        began = time.monotonic()
        with pytest.raises(AutoscorerError, match="database is locked"):
            open_file(path)
        assert time.monotonic() - began < database._BUSY_TIMEOUT_S
        other.close()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(AutoscorerError) as caught:
        open_store(sqlite_url)
    assert (caught.value.code, caught.value.cause) == ("CONFIG_VALIDATION_ERROR", "configuration")
    assert "newer version" in caught.value.message
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    engine.dispose()


def test_a_migration_that_is_interrupted_leaves_nothing_half_done(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: object, connection: object) -> None:
        raise KeyboardInterrupt

    store = SqlStore(empty_url)
    monkeypatch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.migrate()
    monkeypatch.undo()
    store.migrate()
    store.access.add_organisation("acme")
    store.close()
