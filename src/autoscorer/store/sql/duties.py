"""Duties, in SQL: which process does what one does for all."""

from __future__ import annotations

from sqlalchemy import or_, update

from autoscorer.store.moves import LEASE_S
from autoscorer.store.sql.database import Database
from autoscorer.store.sql.rows import until_values
from autoscorer.store.sql.tables import duties


class SqlDuties:
    """`base.Duties` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, duty: str, *, holder: str, lease_s: float = LEASE_S) -> bool:
        with self._database.writing(light=True) as connection:
            connection.execute(self._database.insert(duties).values(duty=duty).on_conflict_do_nothing())
            now = self._database.now(connection)
            free = or_(
                duties.c.holder.is_(None),
                duties.c.holder == holder,
                duties.c.until_s <= now.elapsed_s,
                duties.c.until_era != now.era,
            )
            taken = update(duties).where(duties.c.duty == duty, free)
            values = {"holder": holder, **until_values(now.plus(lease_s))}
            return bool(connection.execute(taken.values(values)).rowcount)

    def leave(self, duty: str, *, holder: str) -> None:
        with self._database.writing(light=True) as connection:
            left = update(duties).where(duties.c.duty == duty, duties.c.holder == holder)
            connection.execute(left.values(holder=None, **until_values(None)))
