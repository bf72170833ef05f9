"""What waits for a score in the zygote: one is forked for a score, or beforehand to wait for one.

What waits has seen nothing of any score, and serves exactly one. It was forked from the machine as it was
then: where that has changed since (a mount, a package) it is let go, and the score gets a new one.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NoReturn, Protocol

MESSAGE_BYTES = 65536
MAX_DESCRIPTORS = 64
# The descriptors of a score, in this order; the pinned files follow.
REQUEST, CONTROL, STATUS, PLACES, STDOUT, STDERR, ANSWER = range(7)
COUNTED, POLLED = b"counted", b"polled"  # what the parent says of a score: how its memory is known
ASKED, HERE = b"asked", b"here"  # whether the zygote is there, and its answer

Keep = Callable[[socket.socket, socket.socket], NoReturn]


class Waiting(Protocol):
    """A process that waits for a score."""

    def hand_over(self, score: Sequence[int]) -> None:
        """Give it the score with these descriptors, which stay the caller's. Raises OSError: it is gone."""

    def close(self) -> None:
        """Have it ended. Safe to call twice."""


def receive(end: socket.socket) -> tuple[bytes, list[int]]:
    """The message and the descriptors that came; none when the other end is closed."""
    try:
        message, descriptors, _, _ = socket.recv_fds(end, MESSAGE_BYTES, MAX_DESCRIPTORS)
    except ConnectionError:
        return b"", []
    return message, descriptors


class Cradle:
    """Our ends of the sockets of one keeper, which gets its score through them; without them it ends."""

    def __init__(self, keep: Keep, fork: Callable[[], int]) -> None:
        """Fork the keeper by ``fork``. Raises OSError."""
        with ExitStack() as ends, ExitStack() as theirs:

            def pair() -> tuple[socket.socket, socket.socket]:
                ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                return ends.enter_context(ours), theirs.enter_context(its)

            (self._keepers, keeper), (self._scorers, scorer) = pair(), pair()
            self.pid = fork()
            if self.pid == 0:
                keep(keeper, scorer)
            self._ends = ends.pop_all()

    def hand_over(self, score: Sequence[int]) -> None:
        """Give the keeper its score, and the scorer's process its part; see `Waiting`.

        The keeper first: what it has accepted it answers for, also if the scorer's process is gone.
        """
        with self._ends:
            socket.send_fds(self._keepers, [b"score"], [score[REQUEST], score[CONTROL], score[STATUS]])
            with contextlib.suppress(OSError):
                socket.send_fds(self._scorers, [b"score"], [score[REQUEST], *score[PLACES:]])

    def close(self) -> None:
        self._ends.close()


class Cradles:
    """All that wait for a score: ``wanted`` of the kind that came last, once they were refilled."""

    def __init__(
        self,
        wanted: int,
        *,
        makers: Mapping[bytes, Callable[[], Waiting]],
        identities: Callable[[], object],
        mounts: int | None,
    ) -> None:
        """``makers`` fork one of each kind, or raise OSError; ``identities`` is what they are made of;
        ``mounts`` an open /proc/self/mountinfo, or none."""
        self._wanted = wanted if mounts is not None else 0
        self._makers = makers
        self._kind = next(iter(makers))
        self._identities = identities
        self._made_of = identities()
        self._ready: deque[Waiting] = deque()
        self._changes = select.poll()
        if mounts is not None:
            self._changes.register(mounts, select.POLLPRI)

    def hand_over(self, kind: bytes, score: Sequence[int]) -> None:
        """Give ``score`` to one that waits, else to a new one. Raises OSError where none can be made."""
        if kind != self._kind:
            self.let_go()
            self._kind = kind
        self._let_go_of_outdated()
        while self._ready:
            with contextlib.suppress(OSError):
                _handed(self._ready.popleft(), score)
                return
        _handed(self._makers[kind](), score)

    def refill(self) -> None:
        """Make some that wait. Where the machine has no process left there are none."""
        while len(self._ready) < self._wanted:
            if not self._ready:
                self._made_of = self._identities()
            try:
                self._ready.append(self._makers[self._kind]())
            except OSError:
                return

    def _let_go_of_outdated(self) -> None:
        if self._changes.poll(0) or (self._ready and self._identities() != self._made_of):
            self.let_go()

    def let_go(self) -> None:
        """End all that wait. To be called when a mount has changed: they hold those there were."""
        while self._ready:
            self._ready.pop().close()


def _handed(waiting: Waiting, score: Sequence[int]) -> None:
    try:
        waiting.hand_over(score)
    except OSError:
        waiting.close()
        raise
