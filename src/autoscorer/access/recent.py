"""Who showed a valid token a moment ago: known for a second without asking the store again."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from autoscorer.access.principal import Principal
from autoscorer.access.tokens import authenticated, digest_of
from autoscorer.store.base import Store

LONGEST_S = 1.0
_TOKENS = 10_000


class RecentTokens:
    """Remembers authenticated tokens, by hash, at most `LONGEST_S` and never past their own end.

    One that is revoked through this process is forgotten at once (`forget`); one that another process
    revokes is good here for up to `LONGEST_S` more. Safe to use from several threads.
    """

    def __init__(self, store: Store, *, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._elapsed = elapsed
        self._known: OrderedDict[str, tuple[Principal, float]] = OrderedDict()
        self._forgotten = 0
        self._lock = threading.Lock()

    def known(self, secret: str) -> Principal | None:
        """Who holds ``secret``, if that is known already. Asks nobody, so it does not wait."""
        principal, good_until_s = self._known.get(digest_of(secret), (None, 0.0))
        return principal if self._elapsed() < good_until_s else None

    def authenticate(self, secret: str) -> Principal:
        """Who holds ``secret``, as the store says now. Raises UNAUTHENTICATED."""
        # Both are read first: what is revoked while the store is asked must not be remembered.
        asked_s, forgotten = self._elapsed(), self._forgotten
        principal, left_s = authenticated(self._store, secret)
        good_until_s = asked_s + min(LONGEST_S, LONGEST_S if left_s is None else left_s)
        with self._lock:
            if forgotten == self._forgotten:
                digest = digest_of(secret)
                self._known[digest] = (principal, good_until_s)
                self._known.move_to_end(digest)
                if len(self._known) > _TOKENS:
                    self._known.popitem(last=False)
        return principal

    def forget(self) -> None:
        """Ask the store about every token again: one was revoked."""
        with self._lock:
            self._forgotten += 1
            self._known.clear()
