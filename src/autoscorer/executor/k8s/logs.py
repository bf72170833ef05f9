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
COMPLETE_S = 60.0


class PodLog:
    """container.log of one pod. A stream that broke off is read again from its beginning.

    ``stderr_tail`` is the tail of all of it: a cluster does not keep the two streams apart.
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
        self._start_over()
        self._thread = threading.Thread(target=self._keep_reading, name=f"log of {pod}", daemon=True)
        self._thread.start()

    def program_ended(self, *, wait_s: float = COMPLETE_S) -> bool:
        """To be called when it has: wait until all it printed is here; whether it is."""
        self._ended.set()
        return self._complete.wait(wait_s)

    @property
    def stderr_tail(self) -> str:
        return readable_tail(self._tail.content())

    def close(self) -> int:
        """The number of bytes that are not in the file. Safe to call twice."""
        self._closing.set()
        if self._response is not None:
            hang_up(self._response)
        self._thread.join(timeout=COMPLETE_S)
        return self._log.close()

    def _start_over(self) -> None:
        self._log = HeadTailLog(self._path, self._max_bytes)
        self._tail = Tail(STDERR_TAIL_BYTES)

    def _keep_reading(self) -> None:
        while not self._closing.is_set():
            ended_before = self._ended.is_set()
            try:
                self._read()
            except (RefusedError, UnreachableError):
                self._again(after_s=PAUSE_S)
                continue
            # Only of a stream that was opened after the end is it sure that it went to the end; one that
            # closed while the program still ran is for the next round to judge.
            if ended_before or self._ended.wait(PAUSE_S * 4):
                self._complete.set()
                return
            self._again(after_s=0.0)

    def _again(self, *, after_s: float) -> None:
        self._closing.wait(after_s)
        if not self._closing.is_set():
            self._log.close()
            self._start_over()

    def _read(self) -> None:
        query = {"container": MAIN, "follow": "true"}
        with self._cluster.stream(self._url, query=query, silence_s=SILENCE_S) as response:
            self._response = response
            try:
                while True:
                    with transport_errors():
                        chunk = response.read1(CHUNK_BYTES)
                    if not chunk or self._closing.is_set():
                        return
                    self._log.write(memoryview(chunk))
                    self._tail.write(chunk)
            finally:
                self._response = None
