"""The first organisation and its operator's token: how a new installation gets its first key."""

from __future__ import annotations

import os
from pathlib import Path

from autoscorer.access.principal import Principal
from autoscorer.access.tokens import authenticate, make_token
from autoscorer.store.base import Store
from autoscorer.store.records import Organisation, Role
from autoscorer.utils.artifacts import atomic_writer
from autoscorer.utils.errors import AutoscorerError

DEFAULT_ORGANISATION = "default"
TOKEN_FILE = "operator.token"  # noqa: S105 - a file's name, in DATA_DIR


def first_organisation(store: Store) -> Organisation:
    """The organisation every installation has; made if it is not there yet."""
    present = store.access.organisation(DEFAULT_ORGANISATION)
    if present is not None:
        return present
    try:
        return store.access.add_organisation(DEFAULT_ORGANISATION)
    except AutoscorerError as exc:
        made_meanwhile = store.access.organisation(DEFAULT_ORGANISATION)
        if exc.code != "CONFLICT" or made_meanwhile is None:
            raise
        return made_meanwhile


def operator_token(store: Store, path: Path) -> str:
    """The secret of an operator's token, kept in ``path`` for its owner's eyes only. The folder must exist.

    One that is there and still valid is used; else one is made and written. One that others could read is
    revoked first.
    """
    present, private = _read(path)
    principal = _holder(store, present)
    if principal is not None and private:
        return present
    if principal is not None:
        store.access.revoke(principal.token_id)
    made = make_token(
        organisation_id=first_organisation(store).organisation_id,
        subject="operator",
        role=Role.OPERATOR,
        now=store.now().at,
    )
    store.access.add_token(made.stored)
    with atomic_writer(path, mode=0o600) as file:
        file.write(f"{made.secret}\n".encode("ascii"))
    return made.secret


def _holder(store: Store, secret: str) -> Principal | None:
    try:
        return authenticate(store, secret)
    except AutoscorerError as exc:
        if exc.code != "UNAUTHENTICATED":
            raise
        return None


def _read(path: Path) -> tuple[str, bool]:
    """What the file holds, nothing if there is none, and whether it is for its owner's eyes only."""
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(256).strip(), not os.fstat(file.fileno()).st_mode & 0o077
    except FileNotFoundError:
        return "", False
