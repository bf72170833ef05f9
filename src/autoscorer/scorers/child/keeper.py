"""The trusted process between zygote and scorer: confines, waits, ends all of it, tells how it ended.

`keep` is called in a fork of the zygote and never returns. It raises the walls that are the same for every
score, has the scorer's process forked behind them (`child.newborn`), and only then asks for its score: that
may be there already, or come much later. It keeps exactly one.

Where pid namespaces can be made it is the first process of one: it takes in orphans, nobody in it can signal
it, and with it the kernel ends all that the scorer started. Elsewhere it is a supervisor as
`confine.supervisor` is one, except that its program is forked, not exec'ed: an import of the libraries would
cost a second.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from dataclasses import dataclass
from typing import NoReturn

from autoscorer.confine import forking, supervisor
from autoscorer.scorers.child import newborn, walls
from autoscorer.scorers.child.cradle import receive
from autoscorer.scorers.child.walls import Raised

REQUEST, CONTROL, STATUS = range(3)  # the descriptors of a score that are the keeper's, in this order
REQUEST_BYTES = 2**24


@dataclass(frozen=True, kw_only=True)
class Born:
    """What the keeper has forked. ``report`` tells behind which walls it is; end of file on ``leaves`` asks
    the keeper to take this machine away. ``failure``: it could not be forked."""

    pid: int = 0
    report: int | None = None
    leaves: int | None = None
    failure: str = ""


def keep(own: socket.socket, scorers: socket.socket, *, entered: Raised) -> NoReturn:
    """Be the keeper of the one score that comes through ``own``, then end.

    Through ``scorers`` comes the part of it that only the scorer's process gets. Both at their end: there
    will be none. ``entered`` is what the zygote's world is made of.
    """
    score: list[int] = []
    try:
        name, zygote = _outer_pid(), os.getppid()
        supervisor.prctl(supervisor.PR_SET_PDEATHSIG, signal.SIGKILL)
        newborn.close_all_but({0, 1, 2, own.fileno(), scorers.fileno()})
        wakeup = supervisor.become_supervisor()
        born = _fork(own, scorers, entered)
        scorers.close()
        score = _awaited(own, born)
        if score:
            supervisor.say(score[STATUS], f"keeper {name}")
            _supervise(born, score, zygote=zygote, wakeup=wakeup, is_first=entered[walls.PIDS] is None)
    finally:
        # The parent waits for this end of file, not for our copy of the zygote's memory to go (1.5 ms).
        if score:
            supervisor.close_quietly(score[STATUS])
        os._exit(0)  # whatever went wrong, there is one zygote


def _outer_pid() -> str:
    """Our process id as the parent has it: /proc is still its own."""
    try:
        return os.readlink("/proc/self")  # noqa: PTH115
    except OSError:
        return str(os.getpid())


def _fork(own: socket.socket, scorers: socket.socket, entered: Raised) -> Born:
    """Fork the scorer's process. What the machine refuses us (a process, a pipe) is told, and no fault of
    the scorer's."""
    try:
        raised = walls.raise_outer(entered)
        if is_first := raised[walls.PIDS] is None:
            raised = walls.raise_files(raised)
            walls.hide_keeper()
        supervisor.prctl(supervisor.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user may have cleared it
        keeper = os.getpid()
        report, telling = os.pipe()
        leaves, leaving = os.pipe()
        pid = forking.fork()
        if pid == 0:
            try:
                newborn.close_all_but({0, 1, 2, scorers.fileno(), telling, leaving})
                behind = newborn.Keeper(pid=keeper, leaving=leaving if is_first else None)
                newborn.become_scorer(scorers, raised, report=telling, keeper=behind)
            finally:
                os._exit(1)
    except OSError as exc:
        return Born(failure=f"{type(exc).__name__}: {exc}")
    os.close(telling)
    os.close(leaving)
    return Born(pid=pid, report=report, leaves=leaves)


def _awaited(own: socket.socket, born: Born) -> list[int]:
    """The descriptors of the score; empty when there will be none, or nobody left to keep for it."""
    poller = select.poll()
    poller.register(own, select.POLLIN)
    if born.report is not None:
        poller.register(born.report, select.POLLIN)
        poller.poll()
    # It tells nothing before it has got its score, unless it failed; then one may be waiting all the same.
    return receive(own)[1] if own.fileno() in dict(poller.poll(0)) else []


def _supervise(born: Born, score: list[int], *, zygote: int, wakeup: int, is_first: bool) -> None:
    config = json.loads(os.pread(score[REQUEST], REQUEST_BYTES, 0))["keeper"]
    os.close(score[REQUEST])
    told = _told(born, is_first=is_first)
    supervisor.say(score[STATUS], told)
    if told.startswith("failed "):
        return
    supervisor.stay(
        born.pid,
        {**config, "wrapper": False},
        parent=zygote,
        control=score[CONTROL],
        status=score[STATUS],
        wakeup=wakeup,
        end=supervisor.end_namespace if is_first else supervisor.kill_tree,
    )


def _told(born: Born, *, is_first: bool) -> str:
    """What the scorer's process has told: behind which walls it is, or why it could not be set up."""
    if born.report is None or born.leaves is None:
        return f"failed {born.failure}"
    if is_first:
        os.read(born.leaves, 1)  # end of file
        walls.leave_machine()  # takes milliseconds that the scorer's process need not wait for
        walls.strip_keeper()
    with os.fdopen(born.report, encoding="utf-8", errors="replace") as file:
        return file.read().rstrip("\n") or newborn.NOT_SET_UP
