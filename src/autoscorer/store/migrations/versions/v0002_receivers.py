"""Version 2: whom each callback goes to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "callbacks", sa.Column("receiver", sa.String(length=300), nullable=False, server_default="")
    )
