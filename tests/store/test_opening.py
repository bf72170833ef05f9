"""A store is opened where it is asked for; until then no SDK of a database is loaded."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from autoscorer.store.opening import open_store
from autoscorer.utils.errors import AutoscorerError
from tests.store.postgres import Server


@pytest.mark.parametrize("name", ["plain", "with space", "what?#%41", "名前"])
def test_without_a_url_it_is_a_file_in_the_data_folder(tmp_path: Path, name: str) -> None:
    store = open_store(None, tmp_path / name)
    store.access.add_organisation("acme")
    store.close()
    assert (tmp_path / name / "jobs.db").is_file()
    again = open_store(None, tmp_path / name)
    assert [found.name for found in again.access.organisations()] == ["acme"]
    again.close()


def test_a_url_goes_before_the_data_folder(tmp_path: Path, sqlite_url: str) -> None:
    store = open_store(sqlite_url, tmp_path / "unused")
    store.check()
    store.close()
    assert not (tmp_path / "unused").exists()


def test_a_missing_extra_is_named_with_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from autoscorer.store.opening import open_store;"
        "sys.modules['sqlalchemy'] = None; open_store(None, Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last_line = done.stderr.splitlines()[-1]
    assert "CONFIG_VALIDATION_ERROR" in last_line
    assert "needs the package sqlalchemy" in last_line
    assert "pip install autoscorer[service]" in last_line


def test_nothing_of_a_database_is_loaded_before_it_is_opened() -> None:
    program = (
        "import sys, autoscorer.store.opening, autoscorer.store.memory_store, autoscorer.store.leases,"
        " autoscorer.access.first;"
        "print(sorted({'sqlalchemy', 'alembic', 'psycopg', 'polars', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def opening_error(url: str) -> AutoscorerError:
    with pytest.raises(AutoscorerError) as caught:
        open_store(url, Path("unused"))
    assert (caught.value.code, caught.value.cause) == ("STORE_UNAVAILABLE", "opening")
    assert (caught.value.blame, caught.value.retryable) == ("operator", True)
    assert "\n" not in caught.value.message
    return caught.value


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database" * 100)
    message = opening_error(f"sqlite:///{path}").message
    assert message == f"The database {path} cannot be used: file is not a database"


def test_a_file_that_another_holds_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoscorer.store.sql.database._BUSY_TIMEOUT_S", 0.1)
    path = tmp_path / "jobs.db"
    open_store(f"sqlite:///{path}", Path("unused")).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        message = opening_error(f"sqlite:///{path}").message
    assert message == f"The database {path} cannot be used: database is locked"


def test_a_server_that_does_not_answer_is_named_without_the_password() -> None:
    message = opening_error("postgresql://scorer:s3cret@127.0.0.1:1/jobs").message
    assert message.startswith("The database 127.0.0.1/jobs cannot be used: ")
    assert "port 1 failed: Connection refused" in message
    assert "s3cret" not in message


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.parametrize(
    ("user", "database", "words"),
    [
        ("postgres", "nowhere", 'database "nowhere" does not exist'),
        ("nobody_here", "postgres", 'role "nobody_here" does not exist'),
        ("guest", "opening", "permission denied for schema public"),  # as for whoever is not the owner
    ],
)
def test_what_a_server_refuses_is_told_in_its_words(
    postgres_server: Server, user: str, database: str, words: str
) -> None:
    engine = create_engine(postgres_server.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in ("DROP DATABASE IF EXISTS opening", "DROP ROLE IF EXISTS guest"):
            connection.execute(text(statement))
        connection.execute(text("CREATE DATABASE opening"))
        connection.execute(text("CREATE ROLE guest LOGIN"))
    engine.dispose()
    if database == "opening":  # what PostgreSQL 15 does by itself
        engine = create_engine(postgres_server.url(database))
        with engine.begin() as connection:
            connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        engine.dispose()
    assert words in opening_error(postgres_server.url(database).replace("postgres@", f"{user}@")).message
