"""That an embedded worker is there, and whether it claims: told to the store often enough to be believed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from autoscorer.store.base import Store
from autoscorer.store.records import Presence
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event

TELL_EVERY_S, PRESENT_FOR_S = 5.0, 20.0


class Attendance:
    """Of one worker. A store that cannot be told is no reason to stop working."""

    def __init__(
        self, store: Store, presence: Presence, *, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._presence = presence
        self._elapsed = elapsed
        self._told_s = -math.inf

    def tell(self, paused: str | None) -> None:
        """Say so, if it is due or something changed; ``paused`` is why nothing is claimed, if so."""
        is_news = (paused is None) != (self._presence.paused is None)
        if not is_news and self._elapsed() - self._told_s < TELL_EVERY_S:
            return
        self._presence = replace(self._presence, paused=paused)
        self._told_s = self._elapsed()
        try:
            self._store.workers.report(self._presence, lease_s=PRESENT_FOR_S)
        except AutoscorerError as exc:
            log_event("WARNING", "presence_not_told", code=exc.code, reason=exc.message)

    def leave(self) -> None:
        """Say that it is there no more. Safe to call twice."""
        try:
            self._store.workers.leave(self._presence.worker_id)
        except AutoscorerError as exc:  # its time runs out by itself
            log_event("WARNING", "presence_not_told", code=exc.code, reason=exc.message)
