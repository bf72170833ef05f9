"""Signatures of the Standard Webhooks specification, version 1: HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"


def keys_of(secret: str) -> tuple[bytes, ...]:
    """The keys in a secret, or in several with spaces between: while one replaces another, both sign.

    Raises ValueError for what is no base64.
    """
    return tuple(
        base64.b64decode(part.removeprefix(PREFIX), validate=True) for part in secret.split() if part
    )


def signed_headers(callback_id: str, body: bytes, keys: Sequence[bytes], *, sent_at_s: int) -> dict[str, str]:
    """What a receiver verifies. ``sent_at_s``: seconds since 1970, so that an old message is not replayed."""
    signed = f"{callback_id}.{sent_at_s}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": callback_id,
        "webhook-timestamp": str(sent_at_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
