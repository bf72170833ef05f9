"""The connection to the database: its transactions, its time, and its errors in our words."""

from __future__ import annotations

import functools
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Select, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from autoscorer.store.clock import Clock, Instant, kernel_clock
from autoscorer.store.hearers import Hearers
from autoscorer.utils import turns
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event
from autoscorer.utils.retry import BackOff, retry_transient

_BUSY_TIMEOUT_S = 30
_WAL_BACK_OFF = BackOff(tries=1000, first_wait_s=0.02, longest_wait_s=0.2, budget_s=_BUSY_TIMEOUT_S)
_SYNCHRONOUS = "autoscorer_synchronous"
_CONTENDED = frozenset({"40P01", "55P03"})  # PostgreSQL's deadlock_detected, lock_not_available
_MAY_NOT = "42501"  # its insufficient_privilege: since version 15 only a database's owner may make tables
# A process that is stopped in the middle of a transaction must not hold up all others: who waits for a lock
# outlasts two of those, one of which got it from the other.
_IDLE_S, _STILL_S = 5, 10
_NAME = "autoscorer"
_SERVER_OPTIONS = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "idle_in_transaction_session_timeout": f"{_IDLE_S}s",
        "lock_timeout": "12s",
        "statement_timeout": "30s",
        "timezone": "utc",
    }.items()
)
# In the middle of telling its statements a session is not idle: no time-out counts that before PostgreSQL 17.
_END_STANDING = text("""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = :name AND datname = current_database() AND usename = session_user
  AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND wait_event = 'ClientRead'
  AND state_change < clock_timestamp() - make_interval(secs => :still_s)
""")


class Database:
    """A SQLite file or a PostgreSQL database. Safe to use from several threads."""

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        parsed = _parsed(url)
        self.hearers = Hearers()
        self.is_server = parsed.get_backend_name() == "postgresql"
        self._clock = clock or (None if self.is_server else kernel_clock)
        self.engine = _server_engine(parsed) if self.is_server else _file_engine(parsed)
        # SQLite has one writer at a time, and whoever finds it busy sleeps up to 0.1 s and asks again.
        # Among the threads of a process a lock hands over at once.
        self._turn: AbstractContextManager[Any] = nullcontext() if self.is_server else threading.Lock()

    def _in_turn(self) -> AbstractContextManager[None]:
        """A server is waited for all the time, a file only when it is synced."""
        return turns.jobs.aside() if self.is_server else turns.jobs.kept()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection with one consistent view. Raises STORE_UNAVAILABLE."""
        with self._in_turn(), _translated(), self.engine.begin() as connection:
            if not self.is_server:
                _begin(connection)
            yield connection

    @contextmanager
    def writing(self, *, light: bool = False) -> Iterator[Connection]:
        """A transaction: all of it or nothing. Raises STORE_UNAVAILABLE, or IntegrityError as it is.

        A ``light`` one is not waited for until it is on the disk: a power cut may take the latest of them.
        While any other is waited for, another job's thread has the turn.
        """
        with self._in_turn(), self._turn, _translated(), self.engine.begin() as connection:
            if not self.is_server:
                _begin(connection, synchronous="NORMAL" if light else "FULL")
            elif light:
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
            yield connection
            if not light:
                turns.jobs.let_go()

    @contextmanager
    def alone(self, errand: str, *, light: bool = False) -> Iterator[Connection]:
        """A transaction during which no other process is on the same errand."""
        with self.writing(light=light) as connection:
            if self.is_server:  # SQLite has but one writer anyway
                connection.execute(
                    text("SELECT pg_advisory_xact_lock(hashtext(:errand))"),
                    {"errand": f"autoscorer {errand}"},
                )
            yield connection

    @contextmanager
    def opening(self) -> Iterator[Connection]:
        """The transaction that a process begins with. What fails is told in the driver's words: they alone
        say whether it is the server, the password or a right that is missing, and an operator reads them."""
        try:
            with self.alone("migrate") as connection:
                yield connection
        except AutoscorerError as exc:
            origin = exc.__cause__ if isinstance(exc.__cause__, sqlite3.Error) else None
            origin = origin or getattr(exc.__cause__, "orig", None)
            may_not = getattr(origin, "sqlstate", None) == _MAY_NOT
            if origin is None or not (exc.code == "STORE_UNAVAILABLE" or may_not):
                raise
            where = "/".join(filter(None, (self.engine.url.host, self.engine.url.database)))
            message = f"The database {where} cannot be used: {str(origin).partition(chr(10))[0]}"
            raise AutoscorerError("STORE_UNAVAILABLE", message, cause="opening") from exc

    def end_standing(self) -> int:
        """See `base.Work.unblock`. Where the server does not let us, they stand until they go on."""
        if not self.is_server:
            return 0
        try:
            with self.reading() as connection:
                return len(connection.scalars(_END_STANDING, {"name": _NAME, "still_s": _STILL_S}).all())
        except AutoscorerError as exc:
            log_event("WARNING", "stopped_sessions_stay", code=exc.code, reason=type(exc.__cause__).__name__)
            return 0

    def now(self, connection: Connection) -> Instant:
        """The store's time; a server's own clock, so that no process's clock can move a lease."""
        if self._clock is not None:
            return self._clock()
        return Instant.of_server(
            connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())::float8")) or 0.0
        )

    def locked(self, query: Select[Any], *, of: Table | None = None, skip: bool = False) -> Select[Any]:
        """``query``, its rows (``of`` one table) locked to the transaction's end. SQLite's writer has all."""
        return query.with_for_update(of=of, skip_locked=skip) if self.is_server else query

    def insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        """An insert that can be told to do nothing on conflict."""
        return postgresql.insert(table) if self.is_server else sqlite.insert(table)

    def close(self) -> None:
        self.engine.dispose()


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as exc:
        raise _not_a_database() from exc
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite+pysqlite")
    raise _not_a_database()


def _not_a_database() -> AutoscorerError:
    message = (
        "DATABASE_URL names no database that can be used: expected sqlite:////var/lib/autoscorer/jobs.db "
        "(a file) or postgresql+psycopg://user:password@host/autoscorer."
    )
    return AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration")


# In ASCII, so that half a surrogate pair from a file's name or a program's output can be kept too.
_dumps = functools.partial(json.dumps, allow_nan=False, default=dict)


def _server_engine(url: URL) -> Engine:
    return create_engine(
        url,
        json_serializer=_dumps,
        pool_size=8,
        max_overflow=8,
        pool_timeout=10,
        pool_pre_ping=True,  # a server that was restarted costs nobody an error
        connect_args={"options": _SERVER_OPTIONS, "connect_timeout": 5, "application_name": _NAME},
    )


def _file_engine(url: URL) -> Engine:
    path = Path(url.database or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # hashes of tokens, and who submitted what, are nobody else's
    except OSError as exc:
        message = f"The database's file {path} cannot be made: {exc.strerror}. Set DATABASE_URL or DATA_DIR."
        raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration") from exc
    engine = create_engine(
        url,
        json_serializer=_dumps,
        pool_size=8,
        max_overflow=56,
        connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_file)
    return engine


def _prepare_file(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # Python would begin transactions by itself, and too late
    # Beside one that makes the same file, or leaves it as the last, the first is refused at once, whatever
    # the time-out.
    retry_transient(
        lambda: connection.execute("PRAGMA journal_mode=WAL"), back_off=_WAL_BACK_OFF, is_worth=_is_locked
    )
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _is_locked(exc: BaseException) -> bool:
    code = getattr(exc, "sqlite_errorcode", None) or 0
    return code & 0xFF == sqlite3.SQLITE_BUSY  # the rest of it says why


def _begin(connection: Connection, *, synchronous: str | None = None) -> None:
    """Begin to read, or to write with ``synchronous``.

    By the driver itself: a listener to the engine's beginnings has every statement look for listeners, and
    SQLAlchemy takes longer to pass one on than SQLite to carry it out *(measured: 0.05 ms a transaction)*.
    """
    driver = connection.connection
    # FULL syncs the log at each commit, NORMAL leaves that to the next FULL one. What a connection of the
    # pool has stays with it, and to say it takes longer than the insert of an event.
    if synchronous and driver.info.get(_SYNCHRONOUS) != synchronous:
        driver.cursor().execute(f"PRAGMA synchronous={synchronous}")
        driver.info[_SYNCHRONOUS] = synchronous
    # A reader that turns writer may be refused at once, whatever the time-out; so say it beforehand.
    driver.cursor().execute("BEGIN IMMEDIATE" if synchronous else "BEGIN")


def is_contended(exc: BaseException) -> bool:
    """Whether a transaction failed because it and others waited for one another, or one for too long."""
    return getattr(getattr(exc.__cause__, "orig", None), "sqlstate", None) in _CONTENDED


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except (DataError, ProgrammingError) as exc:
        raise AutoscorerError("INTERNAL_ERROR", "The database cannot keep such a value.") from exc
    except (DBAPIError, PoolTimeoutError, sqlite3.Error) as exc:
        # The driver's own words may name hosts, users and files; they stay in the cause.
        message = f"The database did not answer as it should ({type(exc.__cause__ or exc).__name__})."
        raise AutoscorerError("STORE_UNAVAILABLE", message) from exc
