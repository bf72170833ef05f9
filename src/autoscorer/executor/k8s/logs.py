"""What a program prints, followed while it runs and complete when it has ended."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from autoscorer.confine.logs import STDERR_TAIL_BYTES, HeadTailLog, Tail, readable_tail
from autoscorer.executor.k8s.client import Cluster, RefusedError, UnreachableError, transport_errors
from autoscorer.executor.k8s.naming import MAIN
from autoscorer.executor.k8s.watch import hang_up

CHUNK_BYTES = 2**16
SILENCE_S = 3600.0  # a program may be quiet for long
PAUSE_S = 0.5
TOLD_S = 20.0  # an end is known to us within, if the log has ended because the program has
COMPLETE_S = 60.0


class _Copy:
    """The log as one stream gave it."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.file = HeadTailLog(path, max_bytes)
        self.tail = Tail(STDERR_TAIL_BYTES)

    def write(self, chunk: bytes) -> None:
        self.file.write(memoryview(chunk))
        self.tail.write(chunk)


class PodLog:
    """container.log of one pod. A stream that broke off is read again, from its beginning.

    What is read again replaces what was there only if it is not less: of a container that is gone a
    cluster gives a sentence of its own instead. ``stderr_tail`` is the tail of all that was printed: a
    cluster does not keep the two streams apart.
    """

    def __init__(self, cluster: Cluster, pod: str, path: Path, max_bytes: int) -> None:
        self._cluster = cluster
        self._url = cluster.path("pods", f"{pod}/log")
        self._path = path
        self._max_bytes = max_bytes
        self._ended = threading.Event()
        self._complete = threading.Event()
        self._closing = threading.Event()
        self._response: Any = None
        self._best = _Copy(path, max_bytes)
        self._thread = threading.Thread(target=self._keep_reading, name=f"log of {pod}", daemon=True)
        self._thread.start()

    def program_ended(self, *, wait_s: float = COMPLETE_S) -> bool:
        """To be called when it has: wait until all it printed is here; whether it is."""
        self._ended.set()
        return self._complete.wait(wait_s)

    @property
    def stderr_tail(self) -> str:
        return readable_tail(self._best.tail.content())

    def close(self) -> int:
        """The number of bytes that are not in the file. Safe to call twice."""
        self._closing.set()
        if self._response is not None:
            hang_up(self._response)
        self._thread.join(timeout=COMPLETE_S)
        return self._best.file.close()

    def _keep_reading(self) -> None:
        copy = self._best
        while not self._closing.is_set():
            ended_before = self._ended.is_set()
            try:
                self._read(copy)
            except (RefusedError, UnreachableError):
                self._closing.wait(PAUSE_S)
            else:
                # A stream that ends as it should while the program runs on is the kubelet's doing.
                if ended_before or self._ended.wait(TOLD_S):
                    self._keep_better(copy)
                    self._complete.set()
                    return
            self._keep_better(copy)
            copy = _Copy(self._path.with_name(f"{self._path.name}.again"), self._max_bytes)
        self._keep_better(copy)

    def _keep_better(self, copy: _Copy) -> None:
        if copy is self._best:
            return
        if copy.tail.seen_bytes < self._best.tail.seen_bytes:
            copy.file.close()
            copy.path.unlink(missing_ok=True)
            return
        self._best.file.close()
        copy.path.replace(self._path)
        self._best = copy

    def _read(self, copy: _Copy) -> None:
        query = {"container": MAIN, "follow": "true"}
        with self._cluster.stream(self._url, query=query, silence_s=SILENCE_S) as response:
            self._response = response
            try:
                while not self._closing.is_set():  # while it was being opened: nobody will hang it up
                    with transport_errors():
                        chunk = response.read1(CHUNK_BYTES)
                    if not chunk or self._closing.is_set():
                        return
                    copy.write(chunk)
            finally:
                self._response = None
