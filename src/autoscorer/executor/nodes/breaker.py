"""A circuit breaker: a node that fails again and again gets no job for a while, then one to try it with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FAILURES = 2  # fewer than a job has tries, so that one node cannot cost it all
BACK_OFF_S = 30.0
LONGEST_S = 600.0


class Breaker:
    """One node's. Safe to use from several threads.

    ``failures`` in a row open it for ``back_off_s``, twice as long each further time, up to ``longest_s``.
    Then it is half-open: one job may try. Its program's start closes it on probation: the next failure
    opens it again. An end that is not the node's fault closes it for good.
    """

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        back_off_s: float = BACK_OFF_S,
        longest_s: float = LONGEST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = failures
        self._back_off_s = back_off_s
        self._longest_s = longest_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._times_opened = 0
        self._opens_at: float | None = None  # when it is half-open; None while it is closed
        self._is_tried = False
        self._why = ""

    def refusal(self) -> str | None:
        """Why no job may go there now; None if one may."""
        with self._lock:
            left_s = self._left_s()
            if left_s is None or (left_s <= 0 and not self._is_tried):
                return None
            if left_s <= 0:
                return f"one job tries it after it failed ({self._why})"
            return f"it failed {self._failures} times ({self._why}) and is left alone for {left_s:.0f} s more"

    def enter(self) -> bool:
        """A job goes there; whether it is the one that tries it."""
        with self._lock:
            self._is_tried = self._opens_at is not None
            return self._is_tried

    def began(self) -> None:
        """The program of the job that tries it has started there."""
        with self._lock:
            self._close(failures=self._allowed - 1)

    def succeeded(self) -> None:
        """A job ended there as it should, or by a fault of its own."""
        with self._lock:
            self._times_opened = 0
            self._close(failures=0)

    def failed(self, why: str) -> None:
        """The node failed a job. Of several lost at once, those after it has opened do not count."""
        with self._lock:
            left_s = self._left_s()
            if left_s is not None and not self._is_tried:
                return
            self._failures += 1
            self._why = why
            if self._is_tried or self._failures >= self._allowed:
                self._open()

    def left(self) -> None:
        """The job that tried it ended in a way that says nothing of the node."""
        with self._lock:
            self._is_tried = False

    def _left_s(self) -> float | None:
        return None if self._opens_at is None else self._opens_at - self._clock()

    def _close(self, *, failures: int) -> None:
        self._failures, self._opens_at, self._is_tried = failures, None, False

    def _open(self) -> None:
        pause_s = min(self._longest_s, self._back_off_s * 2**self._times_opened)
        self._times_opened += 1
        self._opens_at, self._is_tried = self._clock() + pause_s, False
