"""Version 1: organisations, tokens, jobs and what happened to them, callbacks, scorers, duties."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# SQLite counts up only what it calls INTEGER, which has 64 bits there.
_COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ACTIVE = "state IN ('cancelling', 'queued', 'released', 'running')"


def upgrade() -> None:
    _organisations()
    _tokens()
    _jobs()
    _attempts()
    _events()
    _results()
    _callbacks()
    _scorers()
    _duties()


def _organisations() -> None:
    op.create_table(
        "organisations",
        sa.Column("organisation_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", name="pk_organisations"),
        sa.UniqueConstraint("name", name="uq_organisations_name"),
    )


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("token_id", sa.String(length=36), nullable=False),
        sa.Column("organisation_id", sa.String(length=36), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("prefix", sa.String(length=20), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.organisation_id"], name="fk_tokens_organisation_id"
        ),
        sa.PrimaryKeyConstraint("token_id", name="pk_tokens"),
        sa.UniqueConstraint("secret_sha256", name="uq_tokens_secret_sha256"),
    )
    op.create_index("ix_tokens_organisation_id", "tokens", ["organisation_id"])


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", _COUNT, autoincrement=True, nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("organisation_id", sa.String(length=36), nullable=False),
        sa.Column("job_id", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("submitted_by", sa.String(length=200), nullable=False),
        sa.Column("params", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("backend", sa.String(length=50), nullable=True),
        sa.Column("scorer", sa.String(length=300), nullable=True),
        sa.Column("queue", sa.String(length=50), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("callback_url", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("request_sha256", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("attempts_allowed", sa.Integer(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=True),
        sa.Column("until_era", sa.String(length=64), nullable=True),
        sa.Column("until_s", sa.Double(), nullable=True),
        sa.Column("stage", sa.String(length=50), nullable=True),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.organisation_id"], name="fk_jobs_organisation_id"
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_jobs"),
        sa.UniqueConstraint("task_id", name="uq_jobs_task_id"),
        sqlite_autoincrement=True,
    )
    _job_indexes()


def _job_indexes() -> None:
    op.create_index("ix_jobs_by_job_id", "jobs", ["organisation_id", "job_id", "seq"])
    op.create_index("ix_jobs_by_organisation", "jobs", ["organisation_id", "seq"])
    op.create_index("ix_jobs_by_organisation_state", "jobs", ["organisation_id", "state", "seq"])
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"])
    op.create_index("ix_jobs_by_state", "jobs", ["state", "seq"])
    op.create_index("ix_jobs_by_submitter", "jobs", ["organisation_id", "submitted_by", "seq"])
    op.create_index("ix_jobs_by_workspace", "jobs", ["organisation_id", "workspace", "seq"])
    op.create_index(
        "ix_jobs_waiting",
        "jobs",
        ["queue", "organisation_id", sa.text("priority DESC"), "seq"],
        **_where("state = 'queued'"),
    )
    op.create_index(
        "uq_jobs_active_job_id", "jobs", ["organisation_id", "job_id"], unique=True, **_where(_ACTIVE)
    )
    op.create_index(
        "uq_jobs_active_workspace", "jobs", ["organisation_id", "workspace"], unique=True, **_where(_ACTIVE)
    )
    op.create_index(
        "uq_jobs_idempotency_key",
        "jobs",
        ["organisation_id", "idempotency_key"],
        unique=True,
        **_where("idempotency_key IS NOT NULL"),
    )


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end", sa.String(length=20), nullable=True),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["task_id"], ["jobs.task_id"], name="fk_attempts_task_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task_id", "number", name="pk_attempts"),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["jobs.task_id"], name="fk_events_task_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", "number", name="pk_events"),
    )


def _results() -> None:
    op.create_table(
        "results",
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["jobs.task_id"], name="fk_results_task_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", "attempt", name="pk_results"),
    )


def _callbacks() -> None:
    op.create_table(
        "callbacks",
        sa.Column("seq", _COUNT, autoincrement=True, nullable=False),
        sa.Column("callback_id", sa.String(length=36), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("organisation_id", sa.String(length=36), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("job_state", sa.String(length=20), nullable=False),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("until_era", sa.String(length=64), nullable=True),
        sa.Column("until_s", sa.Double(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.organisation_id"], name="fk_callbacks_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["jobs.task_id"], name="fk_callbacks_task_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_callbacks"),
        sa.UniqueConstraint("callback_id", name="uq_callbacks_callback_id"),
    )
    op.create_index("ix_callbacks_organisation_id", "callbacks", ["organisation_id"])
    op.create_index("ix_callbacks_pending", "callbacks", ["until_s"], **_where("state = 'pending'"))
    op.create_index("ix_callbacks_task_id", "callbacks", ["task_id"])


def _scorers() -> None:
    op.create_table(
        "scorers",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=100), nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.Column("loaded_by", sa.String(length=200), nullable=False),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", "sha256", name="pk_scorers"),
    )
    op.create_index("uq_scorers_active", "scorers", ["name"], unique=True, **_where("active"))


def _duties() -> None:
    op.create_table(
        "duties",
        sa.Column("duty", sa.String(length=100), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=True),
        sa.Column("until_era", sa.String(length=64), nullable=True),
        sa.Column("until_s", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("duty", name="pk_duties"),
    )


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
