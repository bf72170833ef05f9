"""What a container prints: the attached stream taken apart, as it comes and in flat memory.

The engine multiplexes: eight bytes of header (stream, three zeros, length), then as many bytes.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

from autoscorer.confine.logs import STDERR_TAIL_BYTES, HeadTailLog, Tail, readable_tail

CHUNK_BYTES = 2**18
PUMP_BYTES = 8 * 2**20  # at most between two looks at the clock
STDERR = 2
_HEADER = struct.Struct(">BxxxL")
_NOTHING_YET = (BlockingIOError, ssl.SSLWantReadError)


class Demultiplexer:
    """Splits the multiplexed stream into the log and the tail of stderr; keeps no more than a header."""

    def __init__(self, log: HeadTailLog, stderr: Tail) -> None:
        self._log = log
        self._stderr = stderr
        self._header = bytearray()
        self._left = 0
        self._stream = 0

    def feed(self, received: memoryview) -> None:
        while received:
            if self._left == 0:
                received = self._take_header(received)
                continue
            content, received = received[: self._left], received[self._left :]
            self._left -= len(content)
            self._log.write(content)
            if self._stream == STDERR:
                self._stderr.write(content)

    def _take_header(self, received: memoryview) -> memoryview:
        missing = _HEADER.size - len(self._header)
        self._header += received[:missing]
        if len(self._header) == _HEADER.size:
            self._stream, self._left = _HEADER.unpack(self._header)
            self._header.clear()
        return received[missing:]


class AttachedStream:
    """The connection over which the engine sends a container's output. Close it always."""

    def __init__(self, attached: Any) -> None:
        self._attached = attached
        # On a Unix socket and plain TCP docker-py hands out a file object around the socket.
        self._socket: socket.socket = getattr(attached, "_sock", attached)
        self._socket.settimeout(0)
        self._buffer = bytearray(CHUNK_BYTES)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self.ended = False

    def pump(self, into: Demultiplexer, timeout_s: float) -> None:
        """Wait for output until ``timeout_s``, then take what is there, but not for ever."""
        if not self._selector.select(timeout_s):
            return
        view, taken = memoryview(self._buffer), 0
        while not self.ended and taken < PUMP_BYTES:
            try:
                count = self._socket.recv_into(view)
            except _NOTHING_YET:
                return
            except OSError:  # the engine went away; whoever asks it for the state will see
                count = 0
            self.ended = count == 0
            into.feed(view[:count])
            taken += count

    def close(self) -> None:
        """Safe to call twice."""
        self.ended = True
        self._selector.close()
        # docker-py hangs the response on it, which owns the connection; closing it flushes, so it goes first.
        getattr(self._attached, "_response", self._attached).close()
        self._socket.close()


class ContainerLog:
    """container.log and the last lines of stderr, over one stream or, after a gap, several."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._log = HeadTailLog(path, max_bytes)
        self._stderr = Tail(STDERR_TAIL_BYTES)
        self._parts = Demultiplexer(self._log, self._stderr)

    def take(self, stream: AttachedStream, timeout_s: float) -> None:
        stream.pump(self._parts, timeout_s)

    def start_over(self) -> None:
        """A new stream begins with a header."""
        self._parts = Demultiplexer(self._log, self._stderr)

    @property
    def stderr_tail(self) -> str:
        return readable_tail(self._stderr.content())

    def close(self) -> int:
        """The number of bytes that are not in the file. Safe to call twice."""
        return self._log.close()
