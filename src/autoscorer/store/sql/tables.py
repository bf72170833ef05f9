"""The tables, and the indexes that keep every question as fast with 100,000 jobs as with 100."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    literal_column,
)

from autoscorer.store.records import CallbackState
from autoscorer.store.transitions import ACTIVE, JobState

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


# SQLite counts up only what it calls INTEGER, which has 64 bits there.
_Count = BigInteger().with_variant(Integer, "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite keeps no zone, so it is put back when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def is_one_of(column: ColumnElement[Any], states: frozenset[JobState]) -> ColumnElement[bool]:
    """``column`` is one of ``states``, written out: a bound value keeps a partial index from being used."""
    written: list[ColumnElement[str]] = [literal_column(f"'{state}'") for state in sorted(states)]
    return column.in_(written) if len(written) != 1 else column == written[0]


organisations = Table(
    "organisations",
    metadata,
    Column("organisation_id", String(36), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("created_at", UtcTime, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", String(36), primary_key=True),
    Column("organisation_id", ForeignKey("organisations.organisation_id"), nullable=False, index=True),
    Column("subject", String(200), nullable=False),
    Column("role", String(20), nullable=False),
    Column("prefix", String(20), nullable=False),
    Column("secret_sha256", String(64), nullable=False, unique=True),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
)

jobs = Table(
    "jobs",
    metadata,
    Column("seq", _Count, primary_key=True, autoincrement=True),
    Column("task_id", String(36), nullable=False, unique=True),
    Column("organisation_id", ForeignKey("organisations.organisation_id"), nullable=False),
    Column("job_id", String(200), nullable=False),
    Column("action", String(20), nullable=False),
    Column("workspace", Text, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("submitted_by", String(200), nullable=False),
    Column("params", JSON(none_as_null=True)),
    Column("backend", String(50)),
    Column("scorer", String(300)),
    Column("queue", String(50), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("callback_url", Text),
    Column("idempotency_key", String(200)),
    Column("request_sha256", String(64)),
    Column("state", String(20), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("attempts_allowed", Integer, nullable=False),
    Column("events", Integer, nullable=False),
    Column("worker", String(200)),
    Column("until_era", String(64)),
    Column("until_s", Double),
    Column("stage", String(50)),
    Column("error", JSON(none_as_null=True)),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    sqlite_autoincrement=True,  # a number is never given again, not even that of a job that was removed
)


def _partial(name: str, *columns: Any, where: ColumnElement[bool], unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


_active = is_one_of(jobs.c.state, ACTIVE)
_owner = jobs.c.organisation_id
_partial("uq_jobs_active_job_id", _owner, jobs.c.job_id, where=_active, unique=True)
_partial("uq_jobs_active_workspace", _owner, jobs.c.workspace, where=_active, unique=True)
_keyed = jobs.c.idempotency_key.is_not(None)
_partial("uq_jobs_idempotency_key", _owner, jobs.c.idempotency_key, where=_keyed, unique=True)
# Claims: the first waiting job of each queue and organisation.
_queued = is_one_of(jobs.c.state, frozenset({JobState.QUEUED}))
_partial("ix_jobs_waiting", jobs.c.queue, _owner, jobs.c.priority.desc(), jobs.c.seq, where=_queued)
# Lists, newest first, by each thing a list can be narrowed to. What is given out is found by its state.
Index("ix_jobs_finished_at", jobs.c.finished_at)
Index("ix_jobs_by_state", jobs.c.state, jobs.c.seq)
Index("ix_jobs_by_organisation", _owner, jobs.c.seq)
Index("ix_jobs_by_organisation_state", _owner, jobs.c.state, jobs.c.seq)
Index("ix_jobs_by_submitter", _owner, jobs.c.submitted_by, jobs.c.seq)
Index("ix_jobs_by_job_id", _owner, jobs.c.job_id, jobs.c.seq)
Index("ix_jobs_by_workspace", _owner, jobs.c.workspace, jobs.c.seq)


def _task_id() -> Column[str]:
    return Column("task_id", ForeignKey("jobs.task_id", ondelete="CASCADE"), primary_key=True)


attempts = Table(
    "attempts",
    metadata,
    _task_id(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("worker", String(200), nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("end", String(20)),
    Column("error", JSON(none_as_null=True)),
)

events = Table(
    "events",
    metadata,
    _task_id(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("name", String(100), nullable=False),
    Column("facts", JSON, nullable=False),
)

results = Table(
    "results",
    metadata,
    _task_id(),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("body", JSON, nullable=False),
    Column("published_at", UtcTime, nullable=False),
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("seq", _Count, primary_key=True, autoincrement=True),
    Column("callback_id", String(36), nullable=False, unique=True),
    Column("task_id", ForeignKey("jobs.task_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("organisation_id", ForeignKey("organisations.organisation_id"), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("job_state", String(20), nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("state", String(20), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("until_era", String(64)),
    Column("until_s", Double),
    Column("last_error", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("receiver", String(300), nullable=False, server_default=""),
    Column("former_tries", Integer, nullable=False, server_default="0"),
)
pending = callbacks.c.state == literal_column(f"'{CallbackState.PENDING}'")
_partial("ix_callbacks_pending", callbacks.c.until_s, where=pending)

scorers = Table(
    "scorers",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("version", String(100), nullable=False),
    Column("card", JSON, nullable=False),
    Column("loaded_by", String(200), nullable=False),
    Column("loaded_at", UtcTime, nullable=False),
    Column("active", Boolean, nullable=False),
)
_partial("uq_scorers_active", scorers.c.name, where=scorers.c.active, unique=True)

duties = Table(
    "duties",
    metadata,
    Column("duty", String(100), primary_key=True),
    Column("holder", String(200)),
    Column("until_era", String(64)),
    Column("until_s", Double),
)

workers = Table(
    "workers",
    metadata,
    Column("worker_id", String(200), primary_key=True),
    Column("machine", String(200), nullable=False),
    Column("queues", JSON, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("paused", Text),
    Column("seen_at", UtcTime, nullable=False),
    Column("until_era", String(64), nullable=False),
    Column("until_s", Double, nullable=False),
)
