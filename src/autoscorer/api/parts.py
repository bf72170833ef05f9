"""The threads that the service consists of, and which of them ended although nobody asked them to."""

from __future__ import annotations

import threading
from collections.abc import Callable

from autoscorer.utils.logger import log_event


class Parts:
    """Threads side by side. One that ends before `stop` is a fault, and stays one until a new start."""

    def __init__(self) -> None:
        self._threads: dict[str, threading.Thread] = {}
        self._faults: dict[str, str] = {}
        self._stopping = threading.Event()

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Run ``work`` in a thread of its own until it returns."""
        thread = threading.Thread(target=self._keep, args=(name, work), name=name, daemon=True)
        self._threads[name] = thread
        thread.start()

    def stop(self) -> None:
        """From now on a part may end."""
        self._stopping.set()

    def faults(self) -> list[str]:
        """What is wrong with this process, a sentence each; empty while every part lives."""
        return list(self._faults.values())

    def is_alive(self, name: str) -> bool:
        return name in self._threads and self._threads[name].is_alive()

    def join(self, name: str, *, timeout_s: float) -> bool:
        """Whether it has ended, within that time."""
        if name in self._threads:
            self._threads[name].join(timeout_s)
        return not self.is_alive(name)

    def _keep(self, name: str, work: Callable[[], None]) -> None:
        why = "ended by itself"
        try:
            work()
        except BaseException as exc:  # boundary of a thread: its end must be seen, whatever it was
            why = f"ended by {type(exc).__name__}"
            log_event("ERROR", "part_failed", error=exc, part=name)
        if not self._stopping.is_set():
            self._faults[name] = f"the {name} of this process {why}; start it anew"
