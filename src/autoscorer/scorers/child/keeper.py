"""The trusted process between zygote and scorer: confines, waits, ends all of it, tells how it ended.

`keep` is called in a fork of the zygote and never returns. A supervisor as `confine.supervisor` is one,
except that its program is forked, not exec'ed: an import of the libraries would cost a second. Between
them stands, where pid namespaces can be made, the first process of a new one: with it ends all that the
scorer started. The scorer's own last steps are in `child.walls`.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import traceback
from typing import Any, NoReturn

from autoscorer.confine import supervisor
from autoscorer.scorers.child import walls, worker

REQUEST, CONTROL, STATUS, STDOUT, STDERR, ANSWER = range(6)  # the descriptors of a score, in this order
FIXED = 6


def keep(descriptors: list[int]) -> NoReturn:
    """Be the keeper of one score, then end."""
    try:
        zygote = os.getppid()
        supervisor.prctl(supervisor.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with os.fdopen(descriptors[REQUEST], "rb") as file:
            request = json.loads(file.read())
        supervisor.say(descriptors[STATUS], f"keeper {os.getpid()}")
        supervisor.supervise(
            {**request["keeper"], "wrapper": False, "pass_fds": descriptors[STDOUT:]},
            parent=zygote,
            control=descriptors[CONTROL],
            status=descriptors[STATUS],
            start=lambda config: _started(config, request, descriptors),
        )
    finally:
        # The parent waits for this end of file, not for our copy of the zygote's memory to go (1.5 ms).
        supervisor.close_quietly(descriptors[STATUS])
        os._exit(0)  # whatever went wrong, there is one zygote


def _started(config: dict[str, Any], request: dict[str, Any], descriptors: list[int]) -> tuple[int, str]:
    """As `_start`; what the machine refuses us (a process, a pipe) is told, and no fault of the scorer's."""
    try:
        return _start(config, request, descriptors)
    except OSError as exc:
        return 0, f"{type(exc).__name__}: {exc}"


def _start(config: dict[str, Any], request: dict[str, Any], descriptors: list[int]) -> tuple[int, str]:
    """Fork the scorer's process: (its pid, "" or why it could not be set up)."""
    raised = walls.raise_outer()
    supervisor.prctl(supervisor.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user may have cleared it
    config["own_pids"] = raised[walls.PIDS] is None
    keeper = os.getpid()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            _become_scorer(config, request, descriptors, raised=raised, keeper=keeper, report=writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        told = json.loads(file.read() or b'{"failed": "it ended while it was set up"}')
    if "failed" not in told:
        supervisor.say(descriptors[STATUS], f"walls {json.dumps(told)}")
    return pid, told.get("failed", "")


def _become_scorer(
    config: dict[str, Any],
    request: dict[str, Any],
    descriptors: list[int],
    *,
    raised: dict[str, str | None],
    keeper: int,
    report: int,
) -> NoReturn:
    """In the child: confine it, tell behind which walls it is, let go of all that is not the scorer's."""
    try:
        supervisor.prctl(supervisor.PR_SET_PDEATHSIG, signal.SIGKILL)
        if not config["own_pids"] and os.getppid() != keeper:
            os._exit(1)
        os.setsid()
        os.umask(0o022)
        supervisor.join_groups(config)
        raised = walls.raise_files(raised, request, pinned=descriptors[FIXED:])
        if config["own_pids"]:
            _fork_and_wait(report)
        supervisor.lower_limits(config)
        raised = walls.raise_inner(raised)
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


def _fork_and_wait(report: int) -> None:
    """Return in a child; stay behind as the first process of the namespace, which takes in orphans."""
    child = os.fork()
    if child == 0:
        return
    try:
        walls.strip_first_process(lambda: _close_all_but(set()))
        _forget_signals()
        while True:
            pid, wait_status = os.wait()
            if pid == child:
                code = os.waitstatus_to_exitcode(wait_status)
                os._exit(code if code >= 0 else 128 - code)  # as a shell tells a signal
    finally:
        os._exit(1)


def _arrange_descriptors(descriptors: list[int], numbers: list[int]) -> int:
    """Standard streams, the files the view names by ``numbers``, the answer; all others are closed."""
    _forget_signals()
    os.dup2(descriptors[STDOUT], 1)
    os.dup2(descriptors[STDERR], 2)
    answer, *sources = (_moved_above(fd, max(numbers, default=3)) for fd in descriptors[ANSWER:])
    for source, number in zip(sources, numbers, strict=False):
        os.dup2(source, number)
    _close_all_but({0, 1, 2, answer, *numbers})
    return answer


def _forget_signals() -> None:
    """The keeper's handlers are not for what it forks."""
    signal.set_wakeup_fd(-1)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(ignored, signal.SIG_DFL)


def _close_all_but(keep: set[int]) -> None:
    """By ranges: where /proc is empty the descriptors cannot be listed."""
    low = 0
    for high in [*sorted(keep), os.sysconf("SC_OPEN_MAX")]:
        if low < high:  # Python 3.11 takes an empty range that begins at 0 for all there are
            os.closerange(low, high)
        low = high + 1


def _moved_above(descriptor: int, number: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, number + 1)
