"""What Alembic runs to apply the versions: on the connection it is given, in that one's transaction."""

from __future__ import annotations

from alembic import context

from autoscorer.store.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False
)
context.run_migrations()
