"""Threads of one process that take turns with what is quick, instead of getting into each other's way.

A thread gives the interpreter's lock away at every system call, and whoever waits for it wakes up on another
processor: a job of hundreds of short calls then costs half as much again as alone *(measured: 15 against
11 ms of the worker's time a job, 50 against 11 changes of thread, four slots on two processors)*. So whoever
works on a job has the turn, and lets go of it for what takes long.

It is a courtesy, no lock: who waits takes the turn from whoever has it and does not compute, as one that
waits for a file over a network, and after `MOST_S` from anybody. Nothing may rely on having it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_S = 0.01
LEAST_COMPUTING = 0.2  # of that time; where others want the processor too, nobody gets all of it
MOST_S = 0.1


class Turns:
    """Safe to use from several threads: that is what they are for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._whose: int | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Have the turn inside; who has it already keeps it."""
        if self._is_mine():
            yield
            return
        self._take()
        try:
            yield
        finally:
            self.let_go()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """For what takes long: let others have the turn meanwhile. Nothing without it."""
        with self.kept():
            self.let_go()
            yield

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Have the turn again afterwards if it is had before and `let_go` inside."""
        was_mine = self._is_mine()
        try:
            yield
        finally:
            if was_mine and not self._is_mine():
                self._take()

    def let_go(self) -> None:
        """Safe to call without having it."""
        with self._changed:
            if self._is_mine():
                self._whose = None
                self._changed.notify()

    def _is_mine(self) -> bool:
        return self._whose == threading.get_ident()

    def _take(self) -> None:
        give_up_at = time.monotonic() + MOST_S
        with self._changed:
            while (whose := self._whose) is not None and time.monotonic() < give_up_at:
                used_s = _computed_s(whose)
                is_told = self._changed.wait(LOOK_S)
                if not is_told and self._whose == whose and not _has_computed(whose, used_s):
                    break
            self._whose = threading.get_ident()


def _has_computed(thread: int, used_s: float) -> bool:
    return _computed_s(thread) - used_s >= LOOK_S * LEAST_COMPUTING


def _computed_s(thread: int) -> float:
    """The processor time of a thread that lives, as one does that has the turn: it lets go before it ends."""
    return time.clock_gettime(time.pthread_getcpuclockid(thread))


jobs = Turns()  # of all threads that work on jobs: they share one interpreter
