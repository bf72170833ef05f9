"""The store in a database: SQLite on one machine, PostgreSQL for several."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, select

from autoscorer.store.clock import Clock, Instant
from autoscorer.store.hearers import OnChange
from autoscorer.store.migrations import upgrade
from autoscorer.store.sql.access import SqlAccess
from autoscorer.store.sql.callbacks import SqlCallbacks
from autoscorer.store.sql.database import Database
from autoscorer.store.sql.duties import SqlDuties
from autoscorer.store.sql.jobs import SqlJobs
from autoscorer.store.sql.scorers import SqlScorers
from autoscorer.store.sql.work import SqlWork
from autoscorer.store.sql.workers import SqlWorkers


class SqlStore:
    """`base.Store` in a database. ``clock`` is for tests; without it time is the server's or the kernel's."""

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        self._database = Database(url, clock=clock)
        self.jobs = SqlJobs(self._database)
        self.work = SqlWork(self._database)
        self.callbacks = SqlCallbacks(self._database)
        self.scorers = SqlScorers(self._database)
        self.access = SqlAccess(self._database)
        self.duties = SqlDuties(self._database)
        self.workers = SqlWorkers(self._database)

    def migrate(self) -> None:
        """Bring the tables up to this version's. Safe to call from several processes at once.

        Raises CONFIG_VALIDATION_ERROR when a newer version has been at work on them, STORE_UNAVAILABLE with
        the driver's words when nobody answers, or this user may not.
        """
        with self._database.opening() as connection:
            upgrade(connection)

    def now(self) -> Instant:
        with self._database.reading() as connection:
            return self._database.now(connection)

    def on_change(self, hear: OnChange) -> None:
        self._database.hearers.add(hear)

    def check(self) -> None:
        with self._database.reading() as connection:
            connection.execute(select(1))

    def close(self) -> None:
        self._database.close()


def open_file(path: Path) -> SqlStore:
    """The store in a SQLite file, made if it is not there; any path will do."""
    return open_store(file_url(path))


def file_url(path: Path) -> str:
    """The URL of the store in a SQLite file."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def open_store(url: str) -> SqlStore:
    """The store at ``url`` (DATABASE_URL), its tables up to date.

    Raises CONFIG_VALIDATION_ERROR for what is no such URL, STORE_UNAVAILABLE when nobody answers there.
    """
    store = SqlStore(url)
    try:
        store.migrate()
    except BaseException:  # clean-up: its connections end with it
        store.close()
        raise
    return store
