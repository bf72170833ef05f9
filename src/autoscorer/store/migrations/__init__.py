"""The tables' history: `upgrade` brings a database from any earlier version, or from nothing, to this one."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from autoscorer.utils.errors import AutoscorerError


def configuration() -> Config:
    """Alembic's own, without a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def upgrade(connection: Connection) -> None:
    """Bring the tables up to date within the connection's transaction. Raises CONFIG_VALIDATION_ERROR."""
    config = configuration()
    scripts = ScriptDirectory.from_config(config)
    present, newest = (
        MigrationContext.configure(connection).get_current_revision(),
        scripts.get_current_head(),
    )
    if present == newest:
        return
    if present is not None and present not in {script.revision for script in scripts.walk_revisions()}:
        message = (
            "The database was made by a newer version of AutoScorer than this one. "
            "Install that version again, or set DATABASE_URL to another database."
        )
        raise AutoscorerError(
            "CONFIG_VALIDATION_ERROR", message, {"revision": present}, cause="configuration"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
