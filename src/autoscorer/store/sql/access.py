"""Organisations and tokens, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from autoscorer.store.conflicts import name_conflict, no_organisation
from autoscorer.store.records import Organisation, StoredToken
from autoscorer.store.sql.database import Database
from autoscorer.store.sql.rows import organisation_of, token_of, values_of
from autoscorer.store.sql.tables import organisations, tokens


class SqlAccess:
    """`base.Access` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_organisation(self, name: str) -> Organisation:
        try:
            with self._database.writing() as connection:
                organisation = Organisation(
                    organisation_id=str(uuid4()), name=name, created_at=self._database.now(connection).at
                )
                connection.execute(insert(organisations).values(values_of(organisation)))
                return organisation
        except IntegrityError as exc:
            raise name_conflict(name) from exc

    def organisation(self, name: str) -> Organisation | None:
        with self._database.reading() as connection:
            query = select(organisations).where(organisations.c.name == name)
            row = connection.execute(query).mappings().one_or_none()
        return organisation_of(row) if row else None

    def organisations(self) -> Sequence[Organisation]:
        with self._database.reading() as connection:
            rows = connection.execute(select(organisations).order_by(organisations.c.name)).mappings()
            return tuple(organisation_of(row) for row in rows)

    def add_token(self, token: StoredToken) -> None:
        try:
            with self._database.writing() as connection:
                connection.execute(insert(tokens).values(values_of(token)))
        except IntegrityError as exc:  # ids and hashes are random: what is amiss is the organisation
            raise no_organisation(token.organisation_id) from exc

    def token_by_hash(self, secret_sha256: str) -> StoredToken | None:
        with self._database.reading() as connection:
            query = select(tokens).where(tokens.c.secret_sha256 == secret_sha256)
            row = connection.execute(query).mappings().one_or_none()
        return token_of(row) if row else None

    def tokens(self, organisation_id: str) -> Sequence[StoredToken]:
        query = select(tokens).where(tokens.c.organisation_id == organisation_id)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(tokens.c.created_at.desc())).mappings()
            return tuple(token_of(row) for row in rows)

    def revoke(self, token_id: str) -> StoredToken | None:
        with self._database.writing() as connection:
            first = func.coalesce(tokens.c.revoked_at, self._database.now(connection).at)
            revoked = update(tokens).where(tokens.c.token_id == token_id).values(revoked_at=first)
            row = connection.execute(revoked.returning(tokens)).mappings().one_or_none()
        return token_of(row) if row else None
