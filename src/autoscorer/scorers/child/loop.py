"""What a process with one thread waits for: descriptors, and what is done when one is ready."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from resource import struct_rusage

POLL_MS = 1000
Ended = Callable[[int, struct_rusage], None]  # gets the wait status, and what it used


class Loop:
    """Descriptors and calls. A call may come when nothing is ready any more: what it reads must not wait."""

    def __init__(self) -> None:
        self._poller = select.poll()
        self._calls: dict[int, Callable[[], None]] = {}
        self._children: dict[int, Ended] = {}

    def watch(self, descriptor: int, call: Callable[[], None], *, events: int = select.POLLIN) -> None:
        """Call ``call`` at every turn in which the descriptor is ready, until it is forgotten. What is
        watched first is called first."""
        self._poller.register(descriptor, events)
        self._calls[descriptor] = call

    def forget(self, descriptor: int) -> None:
        """Watch it no more. Safe to call twice."""
        if self._calls.pop(descriptor, None) is not None:
            self._poller.unregister(descriptor)

    def watch_child(self, pid: int, ended: Ended) -> None:
        """Call ``ended`` once a child of ours has ended and is taken in."""
        self._children[pid] = ended

    @property
    def has_children(self) -> bool:
        return bool(self._children)

    def take_in(self) -> None:
        """Take in what has ended: also children that nobody watches, which hold up their namespace's end."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._children:
                self._children.pop(pid)(status, usage)

    def turn(self) -> bool:
        """Wait for what is ready, a second at most, make the calls and take in children; whether there were
        any calls."""
        ready = self._poller.poll(POLL_MS)
        for descriptor, _ in ready:
            call = self._calls.get(descriptor)
            if call is not None:  # the call before may have forgotten this one
                call()
        self.take_in()
        return bool(ready)
