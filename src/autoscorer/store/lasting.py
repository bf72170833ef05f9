"""Work beside a block, begun only when the block lasts: most are over before there is anything to do."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from autoscorer.utils.logger import log_event


@dataclass(eq=False)
class _Block:
    """``turn`` is held while it is decided whether the work begins, and whether it is to be waited for."""

    name: str
    work: Callable[[], None]
    due_s: float
    turn: threading.Lock = field(default_factory=threading.Lock)
    is_over: bool = False
    thread: threading.Thread | None = None

    def begin(self) -> None:
        """Raises what `Thread.start` does."""
        with self.turn:
            if not self.is_over:
                thread = threading.Thread(target=self.work, name=self.name, daemon=True)
                thread.start()
                self.thread = thread

    def end(self) -> None:
        with self.turn:
            self.is_over = True
        if self.thread is not None:
            self.thread.join()


class Lasting:
    """Begins the work of each block that lasts ``after_s``, in a thread of its own.

    All of them are looked after by one more thread, which is never woken: to start a thread for each block
    and to wait for its end takes longer than all else that is done for a lease *(measured: 0.15 ms)*.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._blocks: deque[_Block] = deque()  # by when they are due: each is as late as the next
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def beside(self, work: Callable[[], None], stop: threading.Event, *, name: str) -> Iterator[None]:
        """Do ``work`` beside the block if that lasts; ``stop`` is set when the block ends, and the work is
        waited for."""
        block = _Block(name, work, time.monotonic() + self._after_s)
        try:
            with self._turn:
                self._blocks.append(block)
                if self._thread is None or not self._thread.is_alive():  # as one that could not be started
                    self._thread = threading.Thread(target=self._look_after, name="lasting", daemon=True)
                    self._thread.start()
            yield
        finally:
            stop.set()
            block.end()

    def _look_after(self) -> None:
        while (block := self._next()) is not None:
            wait_s = block.due_s - time.monotonic()
            if 0 < wait_s <= self._after_s:  # if more, the clock of this process was set back: begin
                time.sleep(wait_s)
            try:
                block.begin()
            except Exception as exc:  # boundary of a thread: as when there can be no more threads at present
                log_event("WARNING", "thread_not_started", error=exc, thread=block.name)
                block.due_s = time.monotonic() + self._after_s
                self._blocks.append(block)

    def _next(self) -> _Block | None:
        """The next that is not over; None, and the thread ends, when there is none."""
        with self._turn:
            while self._blocks:
                block = self._blocks.popleft()
                if not block.is_over:
                    return block
            self._thread = None
            return None
