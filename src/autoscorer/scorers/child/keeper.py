"""The trusted process between zygote and scorer: confines, waits, ends all of it, tells how it ended.

`keep` is called in a fork of the zygote and never returns. A supervisor as `confine.supervisor` is one,
except that its program is forked, not exec'ed: an import of the libraries would cost a second.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any, NoReturn

from autoscorer.confine import supervisor
from autoscorer.scorers.child import worker

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
        config = {**request["keeper"], "wrapper": False, "pass_fds": descriptors[STDOUT:]}
        status = descriptors[STATUS]
        supervisor.say(status, f"keeper {os.getpid()}")
        supervisor.supervise(
            config,
            parent=zygote,
            control=descriptors[CONTROL],
            status=status,
            start=lambda config: _start(config, request, descriptors),
        )
    finally:
        os._exit(0)  # whatever went wrong, there is one zygote


def _start(config: dict[str, Any], request: dict[str, Any], descriptors: list[int]) -> tuple[int, str]:
    """Fork the scorer's process: (its pid, "" or why it could not be set up)."""
    keeper = os.getpid()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            _become_scorer(config, request, descriptors, keeper=keeper, report=writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        told = json.loads(file.read() or b'{"failed": "it ended while it was set up"}')
    if "failed" not in told:
        supervisor.say(descriptors[STATUS], f"walls {json.dumps(told)}")
    return pid, told.get("failed", "")


def _become_scorer(
    config: dict[str, Any], request: dict[str, Any], descriptors: list[int], *, keeper: int, report: int
) -> NoReturn:
    """In the child: confine it, tell behind which walls it is, let go of all that is not the scorer's."""
    try:
        supervisor.prctl(supervisor.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)
        os.setsid()
        supervisor.join_groups(config)
        supervisor.lower_limits(config)
        supervisor.prctl(supervisor.PR_SET_NO_NEW_PRIVS, 1)
        os.umask(0o022)
        os.write(report, json.dumps({"held": [], "missing": {}}).encode())
    except (OSError, ValueError) as exc:
        os.write(report, json.dumps({"failed": f"{type(exc).__name__}: {exc}"}).encode())
        os._exit(1)
    answer = _arrange_descriptors(request, descriptors)
    worker.work(request, answer)


def _arrange_descriptors(request: dict[str, Any], descriptors: list[int]) -> int:
    """Standard streams, the files the view names by number, the answer; all others are closed."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(descriptors[STDOUT], 1)
    os.dup2(descriptors[STDERR], 2)
    numbers = request["pinned"]
    answer, *sources = (_moved_above(fd, max(numbers, default=3)) for fd in descriptors[ANSWER:])
    for source, number in zip(sources, numbers, strict=True):
        os.dup2(source, number)
    keep = {0, 1, 2, answer, *numbers}
    for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
        if descriptor not in keep:
            supervisor.close_quietly(descriptor)
    return answer


def _moved_above(descriptor: int, number: int) -> int:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, number + 1)
