"""Callbacks, scorers, organisations and tokens, duties, workers, in memory."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import uuid4

from autoscorer.store.conflicts import name_conflict, no_organisation
from autoscorer.store.memory.rooms import Rooms
from autoscorer.store.moves import LEASE_S
from autoscorer.store.records import (
    Callback,
    CallbackState,
    JsonObject,
    Organisation,
    Presence,
    StoredScorer,
    StoredToken,
)


class MemoryCallbacks:
    """`base.Callbacks` in memory."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def claim(
        self,
        *,
        worker: str,
        lease_s: float = LEASE_S,
        not_to: Collection[str] = (),
        not_of: Collection[str] = (),
    ) -> Callback | None:
        with self._rooms.lock:
            now = self._rooms.clock()
            due = [
                (callback.until.elapsed_s, callback.callback_id)
                for callback in self._rooms.callbacks.values()
                if callback.state is CallbackState.PENDING
                and callback.until is not None
                and callback.until.passed(now)
                and callback.receiver not in not_to
                and callback.organisation_id not in not_of
            ]
            if not due:
                return None
            callback = self._rooms.callbacks[min(due)[1]]
            return self._set(callback, tries=callback.tries + 1, until=now.plus(lease_s))

    def delivered(self, claimed: Callback) -> bool:
        with self._rooms.lock:
            at = self._rooms.clock().at
            values = {"state": CallbackState.DELIVERED, "finished_at": at, "until": None, "last_error": None}
            return self._has(claimed) and bool(self._set(claimed, **values))

    def failed(self, claimed: Callback, *, message: str, retry_in_s: float | None) -> bool:
        with self._rooms.lock:
            now = self._rooms.clock()
            values: dict[str, Any] = {"last_error": message.replace("\0", " ")}
            if retry_in_s is None:
                values |= {"state": CallbackState.DEAD, "finished_at": now.at, "until": None}
            else:
                values |= {"until": now.plus(retry_in_s)}
            return self._has(claimed) and bool(self._set(claimed, **values))

    def resend(self, callback_id: str) -> Callback | None:
        with self._rooms.lock:
            callback = self._rooms.callbacks.get(callback_id)
            if callback is None:
                return None
            until, former = self._rooms.clock().plus(0), callback.tries
            return self._set(
                callback, state=CallbackState.PENDING, finished_at=None, until=until, former_tries=former
            )

    def get(self, callback_id: str) -> Callback | None:
        with self._rooms.lock:
            return self._rooms.callbacks.get(callback_id)

    def list(
        self, *, organisation_id: str | None = None, state: CallbackState | None = None, limit: int = 100
    ) -> Sequence[Callback]:
        with self._rooms.lock:
            newest_first = list(reversed(self._rooms.callbacks.values()))
        found = [
            callback
            for callback in newest_first
            if organisation_id in (None, callback.organisation_id) and state in (None, callback.state)
        ]
        return tuple(found[:limit])

    def counts(self) -> Mapping[CallbackState, int]:
        with self._rooms.lock:
            states = Counter(callback.state for callback in self._rooms.callbacks.values())
        return {state: count for state, count in states.items() if state is not CallbackState.DELIVERED}

    def _has(self, claimed: Callback) -> bool:
        present = self._rooms.callbacks.get(claimed.callback_id)
        if present is None or present.state is not CallbackState.PENDING:
            return False
        return (present.tries, present.former_tries) == (claimed.tries, claimed.former_tries)

    def _set(self, callback: Callback, **values: Any) -> Callback:
        after = dataclasses.replace(callback, **values)
        self._rooms.callbacks[callback.callback_id] = after
        return after


class MemoryScorers:
    """`base.Scorers` in memory."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def activate(
        self, *, name: str, sha256: str, version: str, card: JsonObject, loaded_by: str
    ) -> StoredScorer:
        with self._rooms.lock:
            for key, scorer in self._rooms.scorers.items():
                if scorer.name == name:
                    self._rooms.scorers[key] = dataclasses.replace(scorer, active=False)
            self._rooms.scorers[name, sha256] = StoredScorer(
                name=name,
                sha256=sha256,
                version=version,
                card=card,
                loaded_by=loaded_by,
                loaded_at=self._rooms.clock().at,
                active=True,
            )
            return self._rooms.scorers[name, sha256]

    def active(self) -> Sequence[StoredScorer]:
        with self._rooms.lock:
            active = [scorer for scorer in self._rooms.scorers.values() if scorer.active]
        return tuple(sorted(active, key=lambda scorer: scorer.name))

    def find(self, name: str, *, sha256: str | None = None) -> StoredScorer | None:
        with self._rooms.lock:
            own = [scorer for scorer in self._rooms.scorers.values() if scorer.name == name]
        wanted = (scorer for scorer in own if (scorer.active if sha256 is None else scorer.sha256 == sha256))
        return next(wanted, None)


class MemoryAccess:
    """`base.Access` in memory."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def add_organisation(self, name: str) -> Organisation:
        with self._rooms.lock:
            if self.organisation(name) is not None:
                raise name_conflict(name)
            organisation = Organisation(
                organisation_id=str(uuid4()), name=name, created_at=self._rooms.clock().at
            )
            self._rooms.organisations[organisation.organisation_id] = organisation
            return organisation

    def organisation(self, name: str) -> Organisation | None:
        return next((found for found in self.organisations() if found.name == name), None)

    def organisations(self) -> Sequence[Organisation]:
        with self._rooms.lock:
            return tuple(sorted(self._rooms.organisations.values(), key=lambda found: found.name))

    def add_token(self, token: StoredToken) -> None:
        with self._rooms.lock:
            if token.organisation_id not in self._rooms.organisations:
                raise no_organisation(token.organisation_id)
            self._rooms.tokens[token.token_id] = token

    def token_by_hash(self, secret_sha256: str) -> StoredToken | None:
        with self._rooms.lock:
            tokens = tuple(self._rooms.tokens.values())
        return next((token for token in tokens if token.secret_sha256 == secret_sha256), None)

    def tokens(self, organisation_id: str) -> Sequence[StoredToken]:
        with self._rooms.lock:
            own = [token for token in self._rooms.tokens.values() if token.organisation_id == organisation_id]
        return tuple(sorted(own, key=lambda token: token.created_at, reverse=True))

    def revoke(self, token_id: str) -> StoredToken | None:
        with self._rooms.lock:
            token = self._rooms.tokens.get(token_id)
            if token is None:
                return None
            revoked = dataclasses.replace(token, revoked_at=token.revoked_at or self._rooms.clock().at)
            self._rooms.tokens[token_id] = revoked
            return revoked


class MemoryDuties:
    """`base.Duties` in memory."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def take(self, duty: str, *, holder: str, lease_s: float = LEASE_S) -> bool:
        with self._rooms.lock:
            now = self._rooms.clock()
            present = self._rooms.duties.get(duty)
            if present is not None and present[0] != holder and not present[1].passed(now):
                return False
            self._rooms.duties[duty] = holder, now.plus(lease_s)
            return True

    def leave(self, duty: str, *, holder: str) -> None:
        with self._rooms.lock:
            if self._rooms.duties.get(duty, ("",))[0] == holder:
                del self._rooms.duties[duty]


class MemoryWorkers:
    """`base.Workers` in memory."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def report(self, presence: Presence, *, lease_s: float = LEASE_S) -> None:
        with self._rooms.lock:
            self._rooms.workers[presence.worker_id] = presence, self._rooms.clock().plus(lease_s)

    def leave(self, worker_id: str) -> None:
        with self._rooms.lock:
            self._rooms.workers.pop(worker_id, None)

    def present(self) -> Sequence[Presence]:
        with self._rooms.lock:
            now = self._rooms.clock()
            found = [presence for presence, until in self._rooms.workers.values() if not until.passed(now)]
        return tuple(sorted(found, key=lambda presence: presence.worker_id))
