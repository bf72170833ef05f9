"""The process that every scorer's process is forked from: it imports, and never computes.

Run as ``python -I zygote.py CONTROL_FD`` with a clean environment by `child.nursery`. A library that
has computed has threads and locks that a fork would copy in the middle of their work *(measured: after
one polars operation every forked child hangs; after the import alone none of 300)*. CONTROL_FD is a
socket that keeps messages apart: the first tells the search path and what to import, each further one
brings the descriptors of one score. End of file is the leash: nothing is left when the parent is gone.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys

MESSAGE_BYTES = 65536
MAX_DESCRIPTORS = 64
POLL_MS = 1000


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    parent = os.getppid()
    hello = json.loads(control.recv(MESSAGE_BYTES))
    sys.path[:] = list(dict.fromkeys([*sys.path, *hello["search_path"]]))
    keeper = importlib.import_module("autoscorer.scorers.child.keeper")
    for module in hello["modules"]:
        importlib.import_module(module)
    importlib.import_module("autoscorer.scorers.child.walls").prepare()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes in ended keepers
    gc.collect()
    gc.freeze()  # the children share these pages as long as no collection writes to them
    control.send(b"ready")
    while job := _next(control, parent):
        try:
            pid = os.fork()
        except OSError as exc:  # the machine has no process left now; the next score may find one
            with contextlib.suppress(OSError):  # nobody waits any more
                os.write(job[keeper.STATUS], f"failed {type(exc).__name__}: {exc}\n".encode())
        else:
            if pid == 0:
                control.close()
                keeper.keep(job)
        for descriptor in job:
            os.close(descriptor)
    control.close()
    _await_keepers()


def _next(control: socket.socket, parent: int) -> list[int]:
    """The descriptors of the next score; empty when the parent is gone."""
    poller = select.poll()
    poller.register(control, select.POLLIN)
    while not poller.poll(POLL_MS):
        # A fork of the parent may hold the socket's other end; the parent's pid cannot be held.
        if os.getppid() != parent:
            return []
    try:
        _, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, MAX_DESCRIPTORS)
    except ConnectionError:
        return []
    return descriptors


def _await_keepers() -> None:
    """Each has a leash of its own and removes what it made."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


if __name__ == "__main__":
    main()
