"""The process that every scorer's process is forked from: it imports, and never computes.

Run as ``python -I zygote.py CONTROL_FD`` with a clean environment by `child.nursery`. A library that
has computed has threads and locks that a fork would copy in the middle of their work *(measured: after
one polars operation every forked child hangs; after the import alone none of 300)*. CONTROL_FD is a
socket that keeps messages apart: the first tells where AutoScorer is, the search path, what to import, how
many forks shall wait; each further one brings the descriptors of one score. End of file is the leash:
nothing is left when the parent is gone.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import resource
import signal
import socket
import sys

MESSAGE_BYTES = 65536
MANY_FILES = 65536


def main() -> None:
    gc.disable()
    control = socket.socket(fileno=int(sys.argv[1]))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    most_here = MANY_FILES if most == resource.RLIM_INFINITY else min(most, MANY_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_here, most))  # each score under way has six open
    hello = json.loads(control.recv(MESSAGE_BYTES))
    sys.path[:] = list(dict.fromkeys([*sys.path, *hello["search_path"]]))
    _take_package(hello["package"])
    world = importlib.import_module("autoscorer.scorers.child.world").enter(control)
    parent = os.getppid()
    for module in hello["modules"]:
        importlib.import_module(module)
    importlib.import_module("autoscorer.scorers.registry").load_builtin()
    importlib.import_module("autoscorer.scorers.child.walls").prepare()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serving = importlib.import_module("autoscorer.scorers.child.serving")
    service = serving.Serving(control, world, waiting=hello["waiting"])
    gc.collect()
    gc.freeze()  # the children share these pages as long as no collection writes to them
    if hello["waiting"]:  # many forks will pay for it
        pages = importlib.import_module("autoscorer.scorers.child.pages")
        with contextlib.suppress(OSError):  # then forks are as they were
            pages.gather()
    control.send(b"ready")
    service.run(parent=parent)


def _take_package(folder: str) -> None:
    """Import AutoScorer from ``folder``, our parent's, whatever the search path would find first."""
    where = f"{folder}/__init__.py"
    spec = importlib.util.spec_from_file_location("autoscorer", where, submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        raise ImportError(where)
    sys.modules["autoscorer"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["autoscorer"])


if __name__ == "__main__":
    main()
