"""Workers that are there, in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, or_, select

from autoscorer.store.clock import Instant
from autoscorer.store.moves import LEASE_S
from autoscorer.store.records import Presence
from autoscorer.store.sql.database import Database
from autoscorer.store.sql.rows import presence_of, until_values, values_of
from autoscorer.store.sql.tables import workers


class SqlWorkers:
    """`base.Workers` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def report(self, presence: Presence, *, lease_s: float = LEASE_S) -> None:
        with self._database.writing(light=True) as connection:
            now = self._database.now(connection)
            connection.execute(delete(workers).where(_passed(now)))
            values = {**values_of(presence), **until_values(now.plus(lease_s)), "seen_at": now.at}
            told = self._database.insert(workers).values(values)
            connection.execute(told.on_conflict_do_update(index_elements=["worker_id"], set_=values))

    def leave(self, worker_id: str) -> None:
        with self._database.writing(light=True) as connection:
            connection.execute(delete(workers).where(workers.c.worker_id == worker_id))

    def present(self) -> Sequence[Presence]:
        with self._database.reading() as connection:
            query = select(workers).where(~_passed(self._database.now(connection)))
            rows = connection.execute(query.order_by(workers.c.worker_id)).mappings()
            return tuple(presence_of(row) for row in rows)


def _passed(now: Instant) -> ColumnElement[bool]:
    return or_(workers.c.until_s <= now.elapsed_s, workers.c.until_era != now.era)
