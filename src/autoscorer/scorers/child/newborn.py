"""The scorer's process from its birth to the moment foreign code runs in it, and the first of its namespace.

Between keeper and scorer stands, where pid namespaces can be made, the first process of a new one: it
takes in orphans, and with it the kernel ends all that the scorer started. Both are forked before they
know whose score it will be; what a score has of its own comes last, and the scorer's code after that.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from autoscorer.confine import supervisor
from autoscorer.scorers.child import walls, worker
from autoscorer.scorers.child.cradle import receive
from autoscorer.scorers.child.walls import Raised

# The descriptors of a score that are the scorer's process's, in this order; the pinned files follow.
REQUEST, PLACES, STDOUT, STDERR, ANSWER = range(5)
FIXED = 5
REQUEST_BYTES = 2**24


def become_scorer(scores: socket.socket, raised: Raised, *, keeper: int, report: int, ends: int) -> NoReturn:
    """In a fork of the keeper: confine it, take the score from ``scores``, tell ``report`` behind which
    walls it is, let go of all that is not the scorer's, compute.

    The first process of the namespace, if there is one, tells ``ends`` when nothing is left.
    """
    try:
        raised, leave = _confined(raised, keeper=keeper, ends=ends)
        descriptors = receive(scores)
        if not descriptors:
            os._exit(0)  # there will be none
        request = json.loads(os.pread(descriptors[REQUEST], REQUEST_BYTES, 0))
        raised = _with_its_own(raised, request, descriptors, leave=leave)
        os.write(report, json.dumps(raised).encode())
    except (OSError, ValueError) as exc:
        os.write(report, json.dumps({"failed": f"{type(exc).__name__}: {exc}"}).encode())
        os._exit(1)
    # Behind the wall the view has the files themselves; through a descriptor they could be written to.
    numbers = request["pinned"] if raised[walls.FILES] else []
    try:
        answer = _arrange_descriptors(descriptors, numbers)
        worker.work(walls.seen(raised, request), answer)
    except BaseException:  # boundary of a process: its last words are the error's details
        traceback.print_exc()
        os._exit(1)


def _confined(raised: Raised, *, keeper: int, ends: int) -> tuple[Raised, Callable[[], None]]:
    """As far as it is the same for every score: the walls, and what has this machine's root taken away."""
    supervisor.prctl(supervisor.PR_SET_PDEATHSIG, signal.SIGKILL)
    own_pids = raised[walls.PIDS] is None
    if not own_pids and os.getppid() != keeper:
        os._exit(1)
    os.setsid()
    os.umask(0o022)
    supervisor.go_first()
    raised = walls.raise_files(raised)
    leave = walls.leave_machine
    if own_pids:
        walls.hide_first_process()
        leave = _fork_and_wait(ends)
        walls.show_scorers_process()
    os.close(ends)
    _forget_signals()
    return raised, leave


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


def _fork_and_wait(ends: int) -> Callable[[], None]:
    """Return in a child; stay behind as the first process of the namespace, which takes in orphans.

    What is returned makes it leave this machine: that takes it milliseconds the child need not wait for.
    """
    asked, asking = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(asked)
        return lambda: os.close(asking)
    try:
        close_all_but({ends, asked})
        os.read(asked, 1)  # end of file
        walls.leave_machine()
        walls.strip_first_process()
        _forget_signals()
        told = supervisor.ended_line(_end_of_all(child))
        os.write(ends, told.encode())
    finally:
        os._exit(0)


def _end_of_all(child: int) -> int | None:
    """Wait until ``child`` has ended, end all else in the namespace; its wait status.

    A process that has nobody left to take in has nobody below it: without children we are alone.
    """
    ended = None
    while True:
        try:
            pid, wait_status = os.wait()
        except ChildProcessError:
            return ended
        if pid == child:
            ended = wait_status
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)  # all but us, and a fork of theirs does not outrun it


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
    """The keeper's handlers are not for what it forks."""
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
