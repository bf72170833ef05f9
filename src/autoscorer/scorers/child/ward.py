"""One scorer's process and the pid namespace around it, as the zygote keeps them without a keeper.

The first process of the namespace only sleeps (`confine.forking.sleeper`): with it the kernel ends all that
the scorer started. The scorer's process is the second one, and raises its walls itself. What the zygote tells
the parent is what a keeper would, once all of it is gone.

For a score whose memory and processes a cgroup counts: nobody here could tell whose an orphan is. One that
has ended stays, and counts as a process, until its score is over.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from resource import struct_rusage
from typing import NoReturn

from autoscorer.confine import supervisor
from autoscorer.scorers.child import newborn
from autoscorer.scorers.child.cradle import CONTROL, PLACES, REQUEST, STATUS
from autoscorer.scorers.child.loop import Loop
from autoscorer.scorers.child.world import World

REPORT_BYTES = 2**16
PF_EXITING = 0x4  # linux/sched.h


class Ward:
    """A scorer's process that waits for its score, has it, or is being ended."""

    def __init__(self, loop: Loop, world: World) -> None:
        """Fork it. Raises OSError."""
        self._loop = loop
        self._leash: int | None = None
        self._status: int | None = None
        self._ended: str | None = None
        self._is_pulled = self._is_killed = False
        with ExitStack() as ends:
            self._scores, self._scorers = (
                ends.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            )
            self._report, telling = os.pipe()
            ends.callback(os.close, self._report)
            try:
                first, scorer = world.populate(lambda: _be_scorer(self._scorers, telling, world))
            finally:
                os.close(telling)
            self._first = first
            loop.watch_child(scorer, self._scorer_ended)
            loop.watch_child(first, self._first_ended)
            self._ends = ExitStack()
            try:
                self._first_handle = self._handle(first)
                self._handle(scorer)
            except OSError:  # no descriptor is left
                self.close()
                self._ends.close()
                raise
            self._ends.push(ends.pop_all())

    def hand_over(self, score: Sequence[int]) -> None:
        """Give it the score with these descriptors, which stay the caller's. Raises OSError: it is gone."""
        if self._is_killed:
            raise OSError(errno.ESRCH, "the scorer's process has ended")
        leash, status = self._copied(score[CONTROL]), self._copied(score[STATUS])
        os.set_blocking(leash, False)
        # With both ends in our hands it arrives in any case: why it could not be set up is then told.
        socket.send_fds(self._scores, [b"score"], [score[REQUEST], *score[PLACES:]])
        self._scorers.close()
        self._leash, self._status = leash, status
        self._loop.watch(leash, self._look_at_leash)

    def close(self) -> None:
        """Have the kernel end it and all in its namespace. Safe to call twice."""
        if not self._is_killed:
            self._is_killed = True
            os.kill(self._first, signal.SIGKILL)

    def _copied(self, descriptor: int) -> int:
        copy = os.dup(descriptor)
        self._ends.callback(os.close, copy)
        return copy

    def _handle(self, pid: int) -> int:
        """A descriptor that wakes the loop when the process ends."""
        handle = os.pidfd_open(pid)
        self._loop.watch(handle, lambda: self._loop.forget(handle))
        self._ends.callback(os.close, handle)
        self._ends.callback(self._loop.forget, handle)
        return handle

    def _look_at_leash(self) -> None:
        """Whatever comes through it, the end of file too, has the score ended."""
        if self._leash is None:
            return
        with suppress(BlockingIOError):
            os.read(self._leash, 1)
            self._loop.forget(self._leash)
            self._is_pulled = True
            self.close()

    def _scorer_ended(self, status: int, usage: struct_rusage) -> None:
        is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if is_killed and not self._is_killed and _is_ending(self._first_handle):
            self._is_killed = True  # the first process, by somebody else: then the score is lost
            return
        self._ended = supervisor.ended_line(status, usage)
        self.close()

    def _first_ended(self, _status: int, _usage: struct_rusage) -> None:
        """The kernel has ended all others, and the scorer's process was taken in: it waits for both."""
        self._is_killed = True
        if self._leash is not None:
            self._loop.forget(self._leash)
        if self._status is not None and self._ended is not None:
            self._tell(self._status, self._ended)
        self._ends.close()

    def _tell(self, status: int, ended: str) -> None:
        """Pass on what the scorer's process has told, unread: later ones are forked of our memory."""
        with suppress(BrokenPipeError):
            told = os.splice(self._report, status, REPORT_BYTES)
            if not told and not self._is_pulled:
                supervisor.say(status, newborn.NOT_SET_UP)
        supervisor.say(status, ended)


def _be_scorer(scores: socket.socket, report: int, world: World) -> NoReturn:
    newborn.close_all_but({0, 1, 2, scores.fileno(), report})
    newborn.become_scorer(scores, world.raised, report=report)


def _is_ending(handle: int) -> bool:
    """Whether a child that has not been taken in yet is on its way out; False where /proc does not tell."""
    try:
        lines = Path(f"/proc/self/fdinfo/{handle}").read_text(encoding="ascii").splitlines()
        (pid,) = (line.split()[1] for line in lines if line.startswith("Pid:"))
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return bool(int(status.rpartition(")")[2].split()[6]) & PF_EXITING)
    except (OSError, ValueError):
        return False
