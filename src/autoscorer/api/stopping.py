"""Being told to stop, by a signal: once means soon, twice means now."""

from __future__ import annotations

import os
import select
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stops:
    """Counts how often somebody has said stop; in the main thread its signals say it, too.

    A pipe and no lock: a handler runs in the middle of whatever the main thread does.
    """

    def __init__(self) -> None:
        self._reads, self._writes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._former: dict[signal.Signals, Any] = {}
        self.count = 0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # One that is ignored was ignored on purpose: `nohup` does that to SIGHUP.
            wanted = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._former = {number: signal.signal(number, self._on_signal) for number in wanted}
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        os.close(self._reads)
        os.close(self._writes)

    def say(self) -> None:
        """Stop; said again: at once."""
        self.count += 1
        os.write(self._writes, b"!")

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it was said anew, waiting for it up to that long."""
        if not select.select([self._reads], [], [], timeout_s)[0]:
            return False
        os.read(self._reads, 64)
        return True

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.say()
