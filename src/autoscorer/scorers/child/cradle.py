"""The zygote's keepers: one is forked for a score, or beforehand to wait for one.

A keeper that waits has seen nothing of any score, and serves exactly one. It was forked from the machine as
it was then: where that has changed since (a mount, a package) it is let go, and the score gets a new one.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NoReturn

MESSAGE_BYTES = 65536
MAX_DESCRIPTORS = 64
# The descriptors of a score, in this order; the pinned files follow.
REQUEST, CONTROL, STATUS, PLACES, STDOUT, STDERR, ANSWER = range(7)

Keep = Callable[[socket.socket, socket.socket], NoReturn]


def receive(end: socket.socket) -> list[int]:
    """The descriptors that came; empty when the other end is closed."""
    try:
        _, descriptors, _, _ = socket.recv_fds(end, MESSAGE_BYTES, MAX_DESCRIPTORS)
    except ConnectionError:
        return []
    return descriptors


class Cradle:
    """Our ends of the sockets of one keeper, which gets its score through them. Close it always: a keeper
    that waits ends by it."""

    def __init__(self) -> None:
        self._ends = ExitStack()
        self._theirs = ExitStack()
        self._keepers, self.keeper = self._pair()
        self._scorers, self.scorer = self._pair()

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return self._ends.enter_context(ours), self._theirs.enter_context(theirs)

    def hand_over(self, score: Sequence[int]) -> None:
        """Give the keeper its score, and the scorer's process its part. Raises OSError: it is gone.

        The keeper first: what it has accepted it answers for, also if the scorer's process is gone.
        """
        socket.send_fds(self._keepers, [b"score"], [score[REQUEST], score[CONTROL], score[STATUS]])
        with contextlib.suppress(OSError):
            socket.send_fds(self._scorers, [b"score"], [score[REQUEST], *score[PLACES:]])

    def fork(self, keep: Keep, fork: Callable[[], int]) -> None:
        """Fork the keeper by ``fork``. Raises OSError."""
        if fork() == 0:
            keep(self.keeper, self.scorer)
        self._theirs.close()

    def close(self) -> None:
        self._ends.close()
        self._theirs.close()


class Cradles:
    """The keepers that wait for a score: ``wanted`` once they were refilled."""

    def __init__(
        self,
        wanted: int,
        *,
        keep: Keep,
        identities: Callable[[], object],
        mounts: int | None,
        fork: Callable[[], int] = os.fork,
    ) -> None:
        """``identities`` is what keepers are made of; ``mounts`` an open /proc/self/mountinfo, or none."""
        self._wanted = wanted if mounts is not None else 0
        self._keep = keep
        self._fork = fork
        self._identities = identities
        self._made_of = identities()
        self._ready: deque[Cradle] = deque()
        self._changes = select.poll()
        if mounts is not None:
            self._changes.register(mounts, select.POLLPRI)

    def hand_over(self, score: Sequence[int]) -> None:
        """Give ``score`` to a keeper that waits, else to a new one. Raises OSError where none can be made."""
        self._let_go_of_outdated()
        while self._ready:
            with contextlib.closing(self._ready.popleft()) as cradle, contextlib.suppress(OSError):
                cradle.hand_over(score)
                return
        with contextlib.closing(Cradle()) as cradle:
            cradle.hand_over(score)  # before it is born: it finds its score
            cradle.fork(self._keep, self._fork)

    def refill(self) -> None:
        """Make keepers that wait. Where the machine has no process left there are none."""
        while len(self._ready) < self._wanted:
            if not self._ready:
                self._made_of = self._identities()
            cradle = Cradle()
            try:
                cradle.fork(self._keep, self._fork)
            except OSError:
                cradle.close()
                return
            self._ready.append(cradle)

    def _let_go_of_outdated(self) -> None:
        if self._changes.poll(0) or (self._ready and self._identities() != self._made_of):
            self.let_go()

    def let_go(self) -> None:
        """End all that wait. To be called when a mount has changed: they hold those there were."""
        while self._ready:
            self._ready.pop().close()
