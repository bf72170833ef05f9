"""Threads of one process that take turns with what is quick, instead of getting into each other's way.

A thread gives the interpreter's lock away at every system call, and whoever waits for it wakes up on another
processor: a job of hundreds of short calls then costs half as much again as alone *(measured: 15 against
11 ms of the worker's time a job, 50 against 11 changes of thread, four slots on two processors)*. So whoever
works on a job has the turn, and lets go of it for what takes long.

It is a courtesy, no lock: who waits for `MOST_S` takes the turn from whoever has it, and nothing may rely on
having it. So a thread that hangs costs another one a moment, once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MOST_S = 0.01  # who only waits meanwhile, as for a file over a network, is not to hold up others


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
        with self._changed:
            self._changed.wait_for(lambda: self._whose is None, timeout=MOST_S)
            self._whose = threading.get_ident()


jobs = Turns()  # of all threads that work on jobs: they share one interpreter
