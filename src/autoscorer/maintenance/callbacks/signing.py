"""Signatures of the Standard Webhooks specification, version 1: HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence

PREFIX = "whsec_"


def keys_of(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """The keys in secrets. Raises ValueError for what is no base64."""
    return tuple(base64.b64decode(secret.removeprefix(PREFIX), validate=True) for secret in secrets)


def secret_for(organisation_id: str, secret: str) -> str:
    """The secret of one organisation, made of the service's: whoever has it knows nothing of another's."""
    (key,) = keys_of([secret])
    made = hmac.digest(key, f"autoscorer callbacks of {organisation_id}".encode(), hashlib.sha256)
    return PREFIX + base64.b64encode(made).decode()


def signed_headers(callback_id: str, body: bytes, keys: Sequence[bytes], *, sent_at_s: int) -> dict[str, str]:
    """What a receiver verifies: one signature a key, so that while one replaces another both are good.

    ``sent_at_s``: seconds since 1970, so that an old message is not replayed.
    """
    signed = f"{callback_id}.{sent_at_s}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": callback_id,
        "webhook-timestamp": str(sent_at_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
