"""Version 4: a callback that is sent again has a new series of tries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("callbacks", sa.Column("former_tries", sa.Integer(), nullable=False, server_default="0"))
