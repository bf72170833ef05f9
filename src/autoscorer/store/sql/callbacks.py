"""The outbox of callbacks, in SQL."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import func, or_, select, update

from autoscorer.store.moves import LEASE_S
from autoscorer.store.records import Callback, CallbackState
from autoscorer.store.sql.database import Database
from autoscorer.store.sql.rows import callback_of, until_values
from autoscorer.store.sql.tables import callbacks, pending

_owner = callbacks.c.organisation_id


class SqlCallbacks:
    """`base.Callbacks` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self,
        *,
        worker: str,
        lease_s: float = LEASE_S,
        not_to: Collection[str] = (),
        not_of: Collection[str] = (),
    ) -> Callback | None:
        with self._database.writing() as connection:
            now = self._database.now(connection)
            due = or_(callbacks.c.until_s <= now.elapsed_s, callbacks.c.until_era != now.era)
            query = select(callbacks).where(pending, due).order_by(callbacks.c.until_s).limit(1)
            query = query.where(callbacks.c.receiver.not_in(not_to), _owner.not_in(not_of))
            row = connection.execute(self._database.locked(query, skip=True)).mappings().one_or_none()
            if row is None:
                return None
            due_callback = callback_of(row)
            claimed = dataclasses.replace(due_callback, tries=due_callback.tries + 1, until=now.plus(lease_s))
            taken = update(callbacks).where(callbacks.c.callback_id == claimed.callback_id)
            connection.execute(taken.values(tries=claimed.tries, **until_values(claimed.until)))
            return claimed

    def delivered(self, claimed: Callback) -> bool:
        with self._database.writing() as connection:
            now = self._database.now(connection)
            values = {"state": CallbackState.DELIVERED, "finished_at": now.at, "last_error": None}
            return bool(connection.execute(_of(claimed).values(**values, **until_values(None))).rowcount)

    def failed(self, claimed: Callback, *, message: str, retry_in_s: float | None) -> bool:
        with self._database.writing() as connection:
            now = self._database.now(connection)
            values: dict[str, Any] = {"last_error": message.replace("\0", " ")}
            if retry_in_s is None:
                values |= {"state": CallbackState.DEAD, "finished_at": now.at, **until_values(None)}
            else:
                values |= until_values(now.plus(retry_in_s))
            return bool(connection.execute(_of(claimed).values(values)).rowcount)

    def resend(self, callback_id: str) -> Callback | None:
        with self._database.writing() as connection:
            values = {"state": CallbackState.PENDING, "finished_at": None, "former_tries": callbacks.c.tries}
            values |= until_values(self._database.now(connection).plus(0))
            again = update(callbacks).where(callbacks.c.callback_id == callback_id).values(values)
            row = connection.execute(again.returning(callbacks)).mappings().one_or_none()
        return callback_of(row) if row else None

    def get(self, callback_id: str) -> Callback | None:
        with self._database.reading() as connection:
            query = select(callbacks).where(callbacks.c.callback_id == callback_id)
            row = connection.execute(query).mappings().one_or_none()
        return callback_of(row) if row else None

    def list(
        self, *, organisation_id: str | None = None, state: CallbackState | None = None, limit: int = 100
    ) -> Sequence[Callback]:
        query = select(callbacks).order_by(callbacks.c.seq.desc()).limit(limit)
        if organisation_id is not None:
            query = query.where(callbacks.c.organisation_id == organisation_id)
        if state is not None:
            query = query.where(callbacks.c.state == state)
        with self._database.reading() as connection:
            return tuple(callback_of(row) for row in connection.execute(query).mappings())

    def counts(self) -> Mapping[CallbackState, int]:
        query = select(callbacks.c.state, func.count()).group_by(callbacks.c.state)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(callbacks.c.state != CallbackState.DELIVERED))
            return {CallbackState(state): count for state, count in rows}


def _of(claimed: Callback) -> Any:
    """The message, as long as nobody has claimed it or sent it again since."""
    return update(callbacks).where(
        callbacks.c.callback_id == claimed.callback_id,
        callbacks.c.tries == claimed.tries,
        callbacks.c.former_tries == claimed.former_tries,
        pending,
    )
