"""References as they were parsed, kept in this process for whoever scores many predictions against one truth.

What is kept depends on the reference's bytes and its reader alone, and readers hand out copies or arrays that
nobody can write to: no prediction and no scorer can change what the next one is compared with.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

MAX_BYTES = 2**28
# Smaller ones are parsed before much is gained.
LEAST_BYTES = 2**14
REMEMBERED = 64
_ENDS_BYTES = 256

Parsed = TypeVar("Parsed")


class ReferenceCache:
    """Parsed references, at most ``max_bytes`` by their readers' own reckoning, the least recently used go.

    A reference is hashed and kept when it comes for the second time: who scores once pays nothing. Safe
    to use from several threads.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.total_bytes = 0
        self._lock = threading.Lock()
        self._met: OrderedDict[tuple[Any, ...], None] = OrderedDict()
        self._kept: OrderedDict[tuple[str, str], tuple[Any, int]] = OrderedDict()

    def parsed(
        self, content: bytes, reader: str, parse: Callable[[], Parsed], weigh: Callable[[Parsed], int]
    ) -> Parsed:
        """What ``parse`` makes of ``content``, now or earlier. What it raises is raised and never kept.

        ``reader`` names everything else that ``parse`` depends on; ``weigh`` gives the bytes of what it made.
        """
        if len(content) < LEAST_BYTES or not self._was_met(content, reader):
            return parse()
        key = (reader, hashlib.sha256(content).hexdigest())
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                found: Parsed = self._kept[key][0]
                return found
        made = parse()
        self._keep(key, made, weigh(made))
        return made

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._met.clear()
            self._kept.clear()
            self.total_bytes = 0

    def _was_met(self, content: bytes, reader: str) -> bool:
        """Whether such a content came before. A look at its ends is enough: a wrong yes costs a hash."""
        look = (reader, len(content), content[:_ENDS_BYTES], content[-_ENDS_BYTES:])
        with self._lock:
            known = look in self._met
            self._met[look] = None
            self._met.move_to_end(look)
            if len(self._met) > REMEMBERED:
                self._met.popitem(last=False)
        return known

    def _keep(self, key: tuple[str, str], made: object, size_bytes: int) -> None:
        with self._lock:
            if size_bytes > self.max_bytes or key in self._kept:
                return
            self._kept[key] = (made, size_bytes)
            self.total_bytes += size_bytes
            while self.total_bytes > self.max_bytes:
                _, (_, freed_bytes) = self._kept.popitem(last=False)
                self.total_bytes -= freed_bytes


references = ReferenceCache()
