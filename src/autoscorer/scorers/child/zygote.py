"""The process that every scorer's process is forked from: it imports, and never computes.

Run as ``python -I zygote.py CONTROL_FD`` with a clean environment by `child.nursery`. A library that
has computed has threads and locks that a fork would copy in the middle of their work *(measured: after
one polars operation every forked child hangs; after the import alone none of 300)*. CONTROL_FD is a
socket that keeps messages apart: the first tells where AutoScorer is, the search path, what to import, how
many keepers shall wait; each further one brings the descriptors of one score. End of file is the leash:
nothing is left when the parent is gone.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.util
import json
import os
import select
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from autoscorer.scorers.child.cradle import Cradles

MESSAGE_BYTES = 65536
POLL_MS = 1000


def main() -> None:
    gc.disable()
    control = socket.socket(fileno=int(sys.argv[1]))
    hello = json.loads(control.recv(MESSAGE_BYTES))
    sys.path[:] = list(dict.fromkeys([*sys.path, *hello["search_path"]]))
    _take_package(hello["package"])
    world = importlib.import_module("autoscorer.scorers.child.world").enter(control)
    parent = os.getppid()
    for module in hello["modules"]:
        importlib.import_module(module)
    importlib.import_module("autoscorer.scorers.registry").load_builtin()
    walls = importlib.import_module("autoscorer.scorers.child.walls")
    walls.prepare()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes in ended keepers
    mounts = _mounts()
    keep = importlib.import_module("autoscorer.scorers.child.keeper").keep
    cradles = importlib.import_module("autoscorer.scorers.child.cradle").Cradles(
        hello["waiting_keepers"],
        keep=functools.partial(keep, entered=world.raised),
        identities=walls.identities,
        mounts=mounts,
        fork=world.fork,
    )
    gc.collect()
    gc.freeze()  # the children share these pages as long as no collection writes to them
    if hello["waiting_keepers"]:  # many forks will pay for it
        pages = importlib.import_module("autoscorer.scorers.child.pages")
        with contextlib.suppress(OSError):  # then forks are as they were
            pages.gather()
    control.send(b"ready")
    _serve(control, cradles, parent=parent, mounts=mounts)
    control.close()
    cradles.let_go()
    _await_keepers()


def _serve(control: socket.socket, cradles: Cradles, *, parent: int, mounts: int | None) -> None:
    """Until the parent is gone."""
    cradle = importlib.import_module("autoscorer.scorers.child.cradle")
    poller = select.poll()
    poller.register(control, select.POLLIN)
    if mounts is not None:
        poller.register(mounts, select.POLLPRI)
    while True:
        events = dict(poller.poll(POLL_MS))
        # A fork of the parent may hold the socket's other end; the parent's pid cannot be held.
        if os.getppid() != parent:
            return
        if not events:
            cradles.refill()  # no mount has changed for a second
        if mounts in events:
            cradles.let_go()
        if control.fileno() in events:
            score = cradle.receive(control)
            if not score:
                return
            _hand_over(cradles, score, status=score[cradle.STATUS])
            cradles.refill()


def _hand_over(cradles: Cradles, score: list[int], *, status: int) -> None:
    try:
        cradles.hand_over(score)
    except OSError as exc:  # the machine has no process left now; the next score may find one
        with contextlib.suppress(OSError):  # nobody waits any more
            os.write(status, f"failed {type(exc).__name__}: {exc}\n".encode())
    for descriptor in score:
        os.close(descriptor)


def _take_package(folder: str) -> None:
    """Import AutoScorer from ``folder``, our parent's, whatever the search path would find first."""
    where = f"{folder}/__init__.py"
    spec = importlib.util.spec_from_file_location("autoscorer", where, submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        raise ImportError(where)
    sys.modules["autoscorer"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["autoscorer"])


def _mounts() -> int | None:
    """An open file that tells when something was mounted or unmounted; None where there is no /proc."""
    try:
        return os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _await_keepers() -> None:
    """Each has a leash of its own and removes what it made."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


if __name__ == "__main__":
    main()
