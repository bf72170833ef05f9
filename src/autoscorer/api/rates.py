"""How often each caller may ask: a bucket that refills evenly, kept as one time per caller."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

_CALLERS = 10_000


class Rates:
    """Up to ``per_minute`` requests at once, then as many as the minute refills; 0 does not limit.

    Callers are kept by hash, the latest `_CALLERS` of them. For one thread.
    """

    def __init__(self, per_minute: int, *, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._one_s = 60.0 / per_minute if per_minute else 0.0
        self._elapsed = elapsed
        # When each caller's bucket is full again (the generic cell rate algorithm, ITU-T I.371).
        self._full_at: OrderedDict[bytes, float] = OrderedDict()

    def __contains__(self, caller: str) -> bool:
        return _key(caller) in self._full_at

    def wait_s(self, caller: str) -> float:
        """Seconds until ``caller`` may ask; 0, and counted, when it may now."""
        if self._per_minute == 0:
            return 0.0
        key = _key(caller)
        now_s, one_s = self._elapsed(), self._one_s
        full_at = max(self._full_at.get(key, now_s), now_s) + one_s
        if (wait_s := full_at - 60.0 - now_s) > 1e-9:
            return wait_s
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > _CALLERS:
            self._full_at.popitem(last=False)
        return 0.0

    def give_back(self, caller: str) -> None:
        """Uncount one request of ``caller``."""
        key = _key(caller)
        if key in self._full_at:
            self._full_at[key] -= self._one_s

    def forget(self, caller: str) -> None:
        """Let go of ``caller`` and of what it has asked. One that is not known is not an error."""
        self._full_at.pop(_key(caller), None)


def _key(caller: str) -> bytes:
    return hashlib.sha256(caller.encode("utf-8", "surrogateescape")).digest()
