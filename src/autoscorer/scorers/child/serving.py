"""The zygote at work: it waits for scores, and for what it has forked."""

from __future__ import annotations

import errno
import functools
import os
import select
import socket
from contextlib import suppress
from resource import struct_rusage

from autoscorer.confine import forking, supervisor
from autoscorer.scorers.child import walls
from autoscorer.scorers.child.cradle import (
    ANSWER,
    ASKED,
    COUNTED,
    HERE,
    POLLED,
    STATUS,
    Cradle,
    Cradles,
    receive,
)
from autoscorer.scorers.child.keeper import keep
from autoscorer.scorers.child.loop import Loop
from autoscorer.scorers.child.ward import Ward
from autoscorer.scorers.child.world import World


class Serving:
    """Has every score computed in a fork: by a `Ward` where one can be, else by a keeper."""

    def __init__(self, control: socket.socket, world: World, *, waiting: int) -> None:
        """``control`` brings the descriptors of one score with each message; ``waiting`` forks shall wait."""
        self._control = control
        self._world = world
        self._loop = Loop()
        self._is_over = False
        has_wards = world.pids is not None and forking.can_make_sleepers() and walls.has_filter()
        mounts = _mounts()
        self._cradles = Cradles(
            waiting,
            makers={COUNTED: self._ward if has_wards else self._keeper, POLLED: self._keeper},
            identities=walls.identities,
            mounts=mounts,
        )
        # Before scores: the kernel tells it once, and what waits for the score of this turn may be outdated.
        if mounts is not None:
            self._loop.watch(mounts, self._cradles.let_go, events=select.POLLPRI)
        self._loop.watch(control.fileno(), self._take)

    def run(self, *, parent: int) -> None:
        """Until the parent is gone, and all scores are over."""
        # A fork of the parent may hold the socket's other end; the parent's pid cannot be held.
        while not self._is_over and os.getppid() == parent:
            if not self._loop.turn():
                self._cradles.refill()  # no mount has changed for a second
        self._loop.forget(self._control.fileno())
        self._control.close()
        self._cradles.let_go()
        while self._loop.has_children:  # each has a leash of its own
            self._loop.turn()

    def _take(self) -> None:
        kind, score = receive(self._control)
        if kind == ASKED:
            with suppress(OSError):  # then nobody waits for it
                self._control.send(HERE)
            return
        if not score:
            self._is_over = True
            return
        self._loop.take_in()  # so that what has ended meanwhile gets no score
        try:
            if len(score) <= ANSWER:
                raise OSError(errno.EMFILE, "descriptors of the score got lost")
            self._cradles.hand_over(kind, score)
        except OSError as exc:  # the machine has no process left now; the next score may find one
            if len(score) > STATUS:
                supervisor.say(score[STATUS], f"failed {type(exc).__name__}: {exc}")
        for descriptor in score:
            os.close(descriptor)
        self._cradles.refill()

    def _ward(self) -> Ward:
        return Ward(self._loop, self._world)

    def _keeper(self) -> Cradle:
        cradle = Cradle(functools.partial(keep, entered=self._world.raised), self._world.fork)
        self._loop.watch_child(cradle.pid, _ignore)
        return cradle


def _ignore(_status: int, _usage: struct_rusage) -> None:
    """A keeper tells the parent itself how its score ended."""


def _mounts() -> int | None:
    """An open file that tells when something was mounted or unmounted; None where there is no /proc."""
    try:
        return os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
