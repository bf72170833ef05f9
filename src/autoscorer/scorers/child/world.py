"""The zygote's own world: a user namespace in which it is nobody, a pid namespace in which it is the first.

With the first process of a pid namespace the kernel ends all others in it. So nothing of any score outlives
the zygote, and nothing of one score its keeper, whatever a scorer has started.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from autoscorer.confine import forking, namespaces
from autoscorer.scorers.child.walls import PIDS, USER, Raised

POLL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class World:
    """``raised`` is what this machine allowed; ``pids`` stands for our pid namespace, if it is our own."""

    raised: Raised
    pids: int | None

    def populate(self, be: Callable[[], NoReturn]) -> tuple[int, int]:
        """A new pid namespace with a first process, which sleeps, and a fork of ours, which calls ``be``.

        With the first one the kernel ends the other. Raises OSError.
        """
        if self.pids is None:
            raise OSError(errno.EPERM, "a pid namespace cannot be made")
        namespaces.unshare(namespaces.PIDS)
        try:
            first = forking.sleeper()
            try:
                other = forking.fork()
            except OSError:
                os.kill(first, signal.SIGKILL)
                os.waitpid(first, 0)
                raise
            if other == 0:
                try:
                    be()
                finally:
                    os._exit(1)
            return first, other
        finally:
            namespaces.children_in(self.pids)

    def fork(self) -> int:
        """As `forking.fork`; the child is the first process of a new pid namespace where one can be made.

        Raises OSError.
        """
        if self.pids is None:
            return forking.fork()
        namespaces.unshare(namespaces.PIDS)
        try:
            child = forking.fork()
        except OSError:
            namespaces.children_in(self.pids)
            raise
        if child != 0:
            namespaces.children_in(self.pids)
        return child


def enter(control: socket.socket) -> World:
    """Move into a world of our own as far as this machine allows; to be called before anything has threads.

    Where it does, another process goes on, the zygote from now on. This one lets go of ``control``, stays
    outside as the parent's child, and never returns.
    """
    parent = os.getppid()
    raised: Raised = {
        USER: namespaces.attempt(namespaces.become_nobody),
        PIDS: namespaces.attempt(lambda: namespaces.unshare(namespaces.PIDS)),
    }
    namespaces.bar_capabilities()  # once for all keepers and scorers' processes
    if raised[PIDS] is not None:
        return World(raised=raised, pids=None)
    zygote = os.fork()
    if zygote != 0:
        control.close()
        _stay_outside(zygote, parent)
    namespaces.end_with_parent()
    pids = namespaces.own_pids()
    namespaces.hide_memory()  # the first processes of scores' namespaces are in it
    return World(raised=raised, pids=pids)


def _stay_outside(zygote: int, parent: int) -> NoReturn:
    """Until the zygote has ended, or our parent has: then the zygote is ended, and with it all it forked."""
    for ignored in (signal.SIGINT, signal.SIGTERM):  # ours to handle is the end of our parent
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while os.waitpid(zygote, os.WNOHANG)[0] == 0:
        if os.getppid() != parent:
            with contextlib.suppress(ProcessLookupError):
                os.kill(zygote, signal.SIGKILL)
            os.waitpid(zygote, 0)
            break
        signal.sigtimedwait({signal.SIGCHLD}, POLL_S)
    os._exit(0)
