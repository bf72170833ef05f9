"""The scorer's process from its birth to the moment foreign code runs in it.

It is forked before it knows whose score it will be; what a score has of its own comes last, and the scorer's
code after that.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import signal
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from autoscorer.confine import forking, supervisor
from autoscorer.scorers.child import walls, worker
from autoscorer.scorers.child.cradle import receive
from autoscorer.scorers.child.walls import Raised

# The descriptors of a score that are the scorer's process's, in this order; the pinned files follow.
REQUEST, PLACES, STDOUT, STDERR, ANSWER = range(5)
FIXED = 5
REQUEST_BYTES = 2**24
NOT_SET_UP = "failed it ended while it was set up"  # said for a process that told nothing


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """Who has forked us, unless it was the zygote itself. If it stands behind the same walls it takes this
    machine away when ``leaving`` is closed."""

    pid: int
    leaving: int | None


def become_scorer(
    scores: socket.socket, raised: Raised, *, report: int, keeper: Keeper | None = None
) -> NoReturn:
    """In a fork of the keeper or the zygote: confine it, take the score from ``scores``, tell ``report``
    behind which walls it is, let go of all that is not the scorer's, compute. What is told is a line for the
    parent: "walls" with what stands, or "failed" with why it could not be set up."""
    leave = walls.leave_machine
    if keeper is not None and (leaving := keeper.leaving) is not None:
        leave = functools.partial(os.close, leaving)
    try:
        raised = _confined(raised, keeper)
        _, descriptors = receive(scores)
        if not descriptors:
            os._exit(0)  # there will be none
        request = json.loads(os.pread(descriptors[REQUEST], REQUEST_BYTES, 0))
        raised = _with_its_own(raised, request, descriptors, leave=leave)
        os.write(report, f"walls {json.dumps(raised)}\n".encode())
    except (OSError, ValueError) as exc:
        os.write(report, f"failed {type(exc).__name__}: {exc}".replace("\n", " ").encode() + b"\n")
        os._exit(1)
    # Behind the wall the view has the files themselves; through a descriptor they could be written to.
    numbers = request["pinned"] if raised[walls.FILES] else []
    forking.begin_anew()
    try:
        answer = _arrange_descriptors(descriptors, numbers)
        worker.work(walls.seen(raised, request), answer)
    except BaseException:  # boundary of a process: its last words are the error's details
        traceback.print_exc()
        os._exit(1)


def _confined(raised: Raised, keeper: Keeper | None) -> Raised:
    """As far as it is the same for every score."""
    if keeper is not None:  # the zygote's end is its namespaces' end
        supervisor.prctl(supervisor.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper.pid:
            os._exit(1)
    os.setsid()
    os.umask(0o022)
    walls.show_scorers_process()
    if keeper is None:
        raised = walls.raise_outer(raised)
    if walls.FILES not in raised:
        raised = walls.raise_files(raised)
    supervisor.go_first(machine=walls.machine_root(raised))
    _forget_signals()
    return raised


def _with_its_own(
    raised: Raised, request: dict[str, Any], descriptors: list[int], *, leave: Callable[[], None]
) -> Raised:
    """The limits and files of its score, then the walls that leave it no way back."""
    config = request["keeper"]
    supervisor.join_groups(config, machine=walls.machine_root(raised))
    walls.add_files(raised, request, pinned=descriptors[FIXED:], leave=leave)
    with socket.socket(fileno=descriptors[PLACES]) as places:
        if folders := walls.places(raised, request):
            socket.send_fds(places, [b"places"], folders)
    supervisor.lower_limits(config)
    walls.close_files(raised, request)
    return walls.raise_inner(raised, is_memory_counted=config["is_memory_counted"])


def _arrange_descriptors(descriptors: list[int], numbers: list[int]) -> int:
    """Standard streams, the files the view names by ``numbers``, the answer; all others are closed."""
    os.dup2(descriptors[STDOUT], 1)
    os.dup2(descriptors[STDERR], 2)
    answer, *sources = (_moved_above(fd, max(numbers, default=3)) for fd in descriptors[ANSWER:])
    for source, number in zip(sources, numbers, strict=False):
        os.dup2(source, number)
    close_all_but({0, 1, 2, answer, *numbers})
    return answer


def _forget_signals() -> None:
    """What keeper and zygote do at signals is not for what they fork."""
    signal.set_wakeup_fd(-1)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(ignored, signal.SIG_DFL)


def close_all_but(keep: set[int]) -> None:
    """By ranges: where /proc is empty the descriptors cannot be listed."""
    low = 0
    for high in [*sorted(keep), os.sysconf("SC_OPEN_MAX")]:
        if low < high:  # Python 3.11 takes an empty range that begins at 0 for all there are
            os.closerange(low, high)
        low = high + 1


def _moved_above(descriptor: int, number: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, number + 1)
