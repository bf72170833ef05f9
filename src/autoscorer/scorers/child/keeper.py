"""The trusted process between zygote and scorer: confines, waits, ends all of it, tells how it ended.

`keep` is called in a fork of the zygote and never returns. It raises the walls that are the same for every
score, has the scorer's process forked behind them (`child.newborn`), and only then asks for its score: that
may be there already, or come much later. It keeps exactly one. A supervisor as `confine.supervisor` is
one, except that its program is forked, not exec'ed: an import of the libraries would cost a second.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from dataclasses import dataclass, field
from typing import Any, NoReturn

from autoscorer.confine import supervisor
from autoscorer.scorers.child import newborn, walls
from autoscorer.scorers.child.cradle import receive

REQUEST, CONTROL, STATUS = range(3)  # the descriptors of a score that are the keeper's, in this order
REQUEST_BYTES = 2**24


@dataclass(frozen=True, kw_only=True)
class Born:
    """What the keeper has forked. ``report`` tells behind which walls it is; ``ends`` that it has ended,
    where it has a pid namespace. ``failure``: it could not be."""

    pid: int = 0
    report: int | None = None
    ends: int | None = None
    failure: str = ""


@dataclass
class _Score:
    """What the keeper was given to keep."""

    descriptors: list[int]
    request: dict[str, Any] = field(default_factory=dict)


def keep(own: socket.socket, scorers: socket.socket) -> NoReturn:
    """Be the keeper of the one score that comes through ``own``, then end.

    Through ``scorers`` comes the part of it that only the scorer's process gets. Both at their end: there
    will be none.
    """
    score = _Score([])
    try:
        zygote = os.getppid()
        supervisor.prctl(supervisor.PR_SET_PDEATHSIG, signal.SIGKILL)
        newborn.close_all_but({0, 1, 2, own.fileno(), scorers.fileno()})
        wakeup = supervisor.become_supervisor()
        born = _fork(own, scorers)
        scorers.close()
        score.descriptors = _awaited(own, born)
        if score.descriptors:
            _supervise(born, score, zygote=zygote, wakeup=wakeup)
    finally:
        # The parent waits for this end of file, not for our copy of the zygote's memory to go (1.5 ms).
        if score.descriptors:
            supervisor.close_quietly(score.descriptors[STATUS])
        os._exit(0)  # whatever went wrong, there is one zygote


def _fork(own: socket.socket, scorers: socket.socket) -> Born:
    """Fork the scorer's process, or what forks it. What the machine refuses us (a process, a pipe) is
    told, and no fault of the scorer's."""
    try:
        raised = walls.raise_outer()
        supervisor.prctl(supervisor.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user may have cleared it
        keeper = os.getpid()
        report, telling = os.pipe()
        ends, ending = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                newborn.close_all_but({0, 1, 2, scorers.fileno(), telling, ending})
                newborn.become_scorer(scorers, raised, keeper=keeper, report=telling, ends=ending)
            finally:
                os._exit(1)
    except OSError as exc:
        return Born(failure=f"{type(exc).__name__}: {exc}")
    os.close(telling)
    os.close(ending)
    if raised[walls.PIDS] is not None:
        os.close(ends)
    return Born(pid=pid, report=report, ends=ends if raised[walls.PIDS] is None else None)


def _awaited(own: socket.socket, born: Born) -> list[int]:
    """The descriptors of the score; empty when there will be none, or nobody left to keep for it."""
    poller = select.poll()
    poller.register(own, select.POLLIN)
    if born.report is not None:
        poller.register(born.report, select.POLLIN)
        poller.poll()
    # It tells nothing before it has got its score, unless it failed; then one may be waiting all the same.
    return receive(own) if own.fileno() in dict(poller.poll(0)) else []


def _supervise(born: Born, score: _Score, *, zygote: int, wakeup: int) -> None:
    status = score.descriptors[STATUS]
    supervisor.say(status, f"keeper {os.getpid()}")
    config = json.loads(os.pread(score.descriptors[REQUEST], REQUEST_BYTES, 0))["keeper"]
    os.close(score.descriptors[REQUEST])
    told = {"failed": born.failure} if born.report is None else _report(born.report)
    if "failed" in told:
        supervisor.say(status, f"failed {told['failed']}")
        return
    supervisor.say(status, f"walls {json.dumps(told)}")
    supervisor.stay(
        born.pid,
        {**config, "wrapper": False, "own_pids": born.ends is not None, "ends": born.ends},
        parent=zygote,
        control=score.descriptors[CONTROL],
        status=status,
        wakeup=wakeup,
    )


def _report(report: int) -> dict[str, Any]:
    """Behind which walls the scorer's process is; "failed" and why if it is not."""
    with os.fdopen(report, "rb") as file:
        told: dict[str, Any] = json.loads(file.read() or b'{"failed": "it ended while it was set up"}')
    return told
