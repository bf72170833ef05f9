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
        self._elapsed = elapsed
        # When each caller's bucket is full again (the generic cell rate algorithm, ITU-T I.371).
        self._full_at: OrderedDict[bytes, float] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Seconds until ``caller`` may ask; 0, and counted, when it may now."""
        if self._per_minute == 0:
            return 0.0
        key = hashlib.sha256(caller.encode("utf-8", "surrogateescape")).digest()
        now_s, one_s = self._elapsed(), 60.0 / self._per_minute
        full_at = max(self._full_at.get(key, now_s), now_s) + one_s
        if (wait_s := full_at - 60.0 - now_s) > 1e-9:
            return wait_s
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > _CALLERS:
            self._full_at.popitem(last=False)
        return 0.0
