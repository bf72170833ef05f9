"""The parent's end of a zygote: started at first use, started again when it died, ended on close."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Any

import autoscorer
from autoscorer.confine.logs import readable_tail
from autoscorer.scorers.child.cradle import ASKED, COUNTED, HERE, POLLED
from autoscorer.telemetry.instruments import ZYGOTE_RESTARTS
from autoscorer.utils.errors import AutoscorerError

START_BUDGET_S = 120.0
ANSWER_BUDGET_S = 20.0
END_BUDGET_S = 20.0  # longer than a keeper may take to kill its tree
# One thread each while they are imported: a process with threads cannot be forked in peace.
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108 - the scorer's own, in its own root
    "LANG": "C.UTF-8",
    "USER": "nobody",
    "LOGNAME": "nobody",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
SCORERS = "autoscorer.scorers"
WAITING = 2  # made beside a score, while the scorer computes; one would be late now and then
# What a score imports when it needs it; in a fork it would be imported for every score again (10 ms).
WARM_LIBRARIES = ("numpy", "polars", "hotcoco")
WARM_PACKAGES = ("autoscorer.reading", "autoscorer.metrics")
FOR_LARGE_TABLES = ("polars", "autoscorer.reading.fast")  # 150 of 340 mappings, 20 of 40 MB


class Warmth(Enum):
    """What a zygote has imported besides the scorers."""

    COLD = auto()  # nothing: for a score or two
    LIGHT = auto()  # what our scorers need for small files: each fork is handed on less
    FULL = auto()


class Nursery:
    """Gives birth to scorers' processes. Safe to use from several threads."""

    def __init__(self, warmth: Warmth = Warmth.COLD) -> None:
        self._warmth = warmth
        self._waiting = 0 if warmth is Warmth.COLD else WAITING
        self._lock = threading.Lock()
        self._zygote: _Zygote | None = None
        self._closed = False

    def fork(self, descriptors: Sequence[int], *, is_counted: bool) -> None:
        """Hand the descriptors of one score to the zygote, which has it computed in a fork.

        ``is_counted``: a cgroup counts its memory, so that nobody has to ask its processes.

        Raises AutoscorerError EXEC_ERROR if no zygote can be started, CANCELLED after `close`.
        """
        with self._lock:
            if self._closed:
                raise AutoscorerError("CANCELLED", "no score begins any more: the process that scores ends")
            for _ in range(2):
                zygote = self._zygote or self._started()
                try:
                    zygote.hand_over(COUNTED if is_counted else POLLED, descriptors)
                except OSError:
                    self._end()  # it died since; a new one takes the score
                    ZYGOTE_RESTARTS.add()
                else:
                    return
        raise AutoscorerError("EXEC_ERROR", "The process that scorers are forked from cannot be reached.")

    def make_sure(self) -> None:
        """After a score was lost: a zygote that is on its way out takes no more."""
        with self._lock:
            if self._zygote is not None and not self._zygote.is_there():
                self._end()
                ZYGOTE_RESTARTS.add()

    @property
    def pid(self) -> int | None:
        """The zygote's process id; None while there is none."""
        return self._zygote.pid if self._zygote else None

    def close(self) -> None:
        """End the zygote and all it brought forth, for good. Safe to call twice."""
        with self._lock:
            self._closed = True
            self._end()

    def _started(self) -> _Zygote:
        hello = {
            "package": str(Path(autoscorer.__file__).parent),
            "search_path": search_path(),
            "modules": modules_for(self._warmth),
            "waiting": self._waiting,
        }
        self._zygote = _Zygote(hello)
        return self._zygote

    def _end(self) -> None:
        if self._zygote is not None:
            self._zygote.end()
            self._zygote = None


class _Zygote:
    """A running zygote."""

    def __init__(self, hello: Mapping[str, Any]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        errors = os.memfd_create("zygote-errors")
        try:
            with theirs:
                self._process = subprocess.Popen(
                    _command(theirs.fileno()),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env=ENVIRONMENT,
                    cwd="/",
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # Ctrl-C is ours to handle
                )
            self._greet(hello, errors)
        except BaseException:  # clean-up: whatever stopped the start, the socket is closed
            self._control.close()
            raise
        finally:
            os.close(errors)

    @property
    def pid(self) -> int:
        return self._process.pid

    def hand_over(self, kind: bytes, descriptors: Sequence[int]) -> None:
        socket.send_fds(self._control, [kind], descriptors)

    def is_there(self) -> bool:
        """Whether it answers."""
        self._control.settimeout(ANSWER_BUDGET_S)
        try:
            self._control.send(ASKED)
            return self._control.recv(16) == HERE
        except OSError:
            return False
        finally:
            self._control.settimeout(None)

    def end(self) -> None:
        """End of file on its socket makes it wait for the scores, which their own leashes end."""
        self._control.close()
        try:
            self._process.wait(END_BUDGET_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _greet(self, hello: Mapping[str, Any], errors: int) -> None:
        self._control.settimeout(START_BUDGET_S)
        said = b""
        with contextlib.suppress(OSError):
            self._control.send(json.dumps(hello).encode())
            said = self._control.recv(16)
        self._control.settimeout(None)
        if said != b"ready":
            self._process.kill()
            self._process.wait()
            reason = readable_tail(os.pread(errors, 65536, 0), lines=1)
            message = "The process that scorers are forked from cannot start."
            raise AutoscorerError("EXEC_ERROR", message, {"reason": reason})


def _command(descriptor: int) -> list[str]:
    flags = ["-I", "-X", "utf8", *(["-B"] if sys.dont_write_bytecode else [])]
    return [sys.executable, *flags, str(Path(__file__).with_name("zygote.py")), str(descriptor)]


def search_path() -> list[str]:
    """Where a scorer's process may import from besides its interpreter's own folders.

    AutoScorer itself, and the folders of our own search path in which packages are installed; never
    the working directory or the folder of a script, which is wherever somebody started us.
    """
    ours = [entry for entry in sys.path if entry and any(Path(entry).glob("*.dist-info"))]
    return list(dict.fromkeys([*ours, str(Path(autoscorer.__file__).parent.parent)]))


def modules_for(warmth: Warmth) -> list[str]:
    """What a zygote imports, in this order."""
    if warmth is Warmth.COLD:
        return modules_of(SCORERS)
    names = [*WARM_LIBRARIES]
    for package in (*WARM_PACKAGES, SCORERS):
        names += modules_of(package)
    left_out = FOR_LARGE_TABLES if warmth is Warmth.LIGHT else ()
    return [name for name in names if name not in left_out]


def modules_of(package: str) -> list[str]:
    """The modules directly in a package of ours."""
    path = importlib.import_module(package).__path__
    return [f"{package}.{module.name}" for module in pkgutil.iter_modules(path) if not module.ispkg]
