"""Tokens: made from 256 random bits, shown once, kept as a hash, valid until they expire or are revoked."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from autoscorer.access.policy import Permission, may_grant
from autoscorer.access.principal import Principal
from autoscorer.store.base import Store
from autoscorer.store.records import Role, StoredToken
from autoscorer.utils.errors import AutoscorerError

_MARK = "as_"  # so that scanners and people recognise what they have found
_SHOWN = len(_MARK) + 6
_FORM = re.compile(rf"{_MARK}[A-Za-z0-9_-]{{43}}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class MadeToken:
    """A new token. ``secret`` is shown now and never again."""

    stored: StoredToken
    secret: str

    def __repr__(self) -> str:
        return f"MadeToken(stored={self.stored!r}, secret='…')"


def make_token(
    *,
    organisation_id: str,
    subject: str,
    role: Role,
    now: datetime,
    valid_for: timedelta | None = None,
) -> MadeToken:
    """A token that nobody has stored yet; without ``valid_for`` it does not expire."""
    secret = _MARK + secrets.token_urlsafe(32)
    stored = StoredToken(
        token_id=str(uuid4()),
        organisation_id=organisation_id,
        subject=subject,
        role=role,
        prefix=secret[:_SHOWN],
        secret_sha256=digest_of(secret),
        created_at=now,
        expires_at=now + valid_for if valid_for is not None else None,
    )
    return MadeToken(stored=stored, secret=secret)


def grant(
    store: Store,
    granter: Principal,
    *,
    subject: str,
    role: Role,
    organisation_id: str | None = None,
    valid_for: timedelta | None = None,
) -> MadeToken:
    """A stored token, in the granter's organisation unless another is given.

    Raises FORBIDDEN: nobody grants more than they have; NOT_FOUND for an organisation out of reach.
    """
    organisation_id = organisation_id or granter.organisation_id
    what = f"organisation {organisation_id}"
    granter.require(Permission.MANAGE_TOKENS, organisation_id=organisation_id, subject=None, what=what)
    if not may_grant(granter.role, role):
        message = f"The role {granter.role} may not make tokens with the role {role}."
        raise AutoscorerError("FORBIDDEN", message, {"role": granter.role})
    made = make_token(
        organisation_id=organisation_id, subject=subject, role=role, now=store.now().at, valid_for=valid_for
    )
    store.access.add_token(made.stored)
    return made


def revoke(store: Store, revoker: Principal, token: StoredToken) -> StoredToken:
    """The token after it: worth nothing from now on. Done twice is done once.

    Raises FORBIDDEN: nobody takes away what they could not have granted; NOT_FOUND for one out of reach.
    """
    what = f"token {token.token_id}"
    revoker.require(Permission.MANAGE_TOKENS, organisation_id=token.organisation_id, subject=None, what=what)
    if not may_grant(revoker.role, token.role):
        message = f"The role {revoker.role} may not revoke tokens with the role {token.role}."
        raise AutoscorerError("FORBIDDEN", message, {"role": revoker.role})
    return store.access.revoke(token.token_id) or token


def authenticate(store: Store, secret: str) -> Principal:
    """Who holds ``secret``. Raises UNAUTHENTICATED, in the same words whatever is wrong with it."""
    return authenticated(store, secret)[0]


def authenticated(store: Store, secret: str) -> tuple[Principal, float | None]:
    """As `authenticate`, and how many seconds the token is still good for; None if it does not expire."""
    if not _FORM.fullmatch(secret):
        raise _not_valid()
    digest = digest_of(secret)
    token = store.access.token_by_hash(digest)
    if token is None:
        raise _not_valid()
    # A store's clock may be another machine's: it is asked only for a token that expires.
    now = store.now().at if token.expires_at is not None else token.created_at
    if not is_valid(token, digest, lambda: now):
        raise _not_valid()
    principal = Principal(
        organisation_id=token.organisation_id,
        subject=token.subject,
        role=token.role,
        token_id=token.token_id,
    )
    return principal, (token.expires_at - now).total_seconds() if token.expires_at is not None else None


def is_valid(token: StoredToken, digest: str, now: Callable[[], datetime]) -> bool:
    """Whether ``digest`` is this token's, and the token neither revoked nor expired.

    The store looks hashes up, so the time it takes tells about hashes of 256 random bits, not about secrets.
    The comparison here takes the same time for any two.
    """
    return (
        hmac.compare_digest(token.secret_sha256, digest)
        and token.revoked_at is None
        and (token.expires_at is None or now() < token.expires_at)
    )


def digest_of(secret: str) -> str:
    """The SHA-256 of a secret, as it is kept."""
    # No salt and no slow hash: what is hashed is random, not a password somebody chose.
    return hashlib.sha256(secret.encode()).hexdigest()


def _not_valid() -> AutoscorerError:
    return AutoscorerError("UNAUTHENTICATED", "This token is not valid (any more).")
