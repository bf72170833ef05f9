"""Loaded scorers, in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update

from autoscorer.store.records import JsonObject, StoredScorer
from autoscorer.store.sql.database import Database
from autoscorer.store.sql.rows import scorer_of, values_of
from autoscorer.store.sql.tables import scorers


class SqlScorers:
    """`base.Scorers` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def activate(
        self, *, name: str, sha256: str, version: str, card: JsonObject, loaded_by: str
    ) -> StoredScorer:
        with self._database.alone("activate a scorer") as connection:
            scorer = StoredScorer(
                name=name,
                sha256=sha256,
                version=version,
                card=card,
                loaded_by=loaded_by,
                loaded_at=self._database.now(connection).at,
                active=True,
            )
            values = values_of(scorer)
            former = update(scorers).where(scorers.c.name == name, scorers.c.active)
            connection.execute(former.values(active=False))
            statement = self._database.insert(scorers).values(values)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[scorers.c.name, scorers.c.sha256], set_=values
                )
            )
            return scorer

    def active(self) -> Sequence[StoredScorer]:
        query = select(scorers).where(scorers.c.active).order_by(scorers.c.name)
        with self._database.reading() as connection:
            return tuple(scorer_of(row) for row in connection.execute(query).mappings())

    def find(self, name: str, *, sha256: str | None = None) -> StoredScorer | None:
        which = scorers.c.active if sha256 is None else scorers.c.sha256 == sha256
        with self._database.reading() as connection:
            query = select(scorers).where(scorers.c.name == name, which)
            row = connection.execute(query).mappings().one_or_none()
        return scorer_of(row) if row else None
