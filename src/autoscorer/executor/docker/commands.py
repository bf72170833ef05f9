"""A command in a running container: its streams over one connection, its exit code in the end.

Only ever in a sidecar of ours, never in a participant's container. Nothing is buffered beyond one frame.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from autoscorer.executor.docker.client import Engine
from autoscorer.executor.docker.containers import EngineSilentError, asking
from autoscorer.utils.closing import Closing

STDERR = 2
STDERR_KEPT = 4096
PIECE_BYTES = 2**18
ENDED_WITHIN_S = 60.0
_HEADER = struct.Struct(">BxxxL")
_PAUSE_S = 0.02


class ExecCommand(Closing):
    """One command. Read its output with `read`; `exit_code` says how it ended. Close it always."""

    def __init__(
        self,
        engine: Engine,
        container_id: str,
        command: Sequence[str],
        *,
        user: str,
        takes_input: bool,
        silence_s: float = 60.0,
    ) -> None:
        """Raises EngineSilentError: there is no such container, it does not run, or nobody answers."""
        self._api = engine.api
        self._left = 0
        self._stream = 0
        self._code: int | None = None
        self.stderr = b""
        try:
            with asking():
                made = self._api.exec_create(
                    container_id, list(command), stdin=takes_input, stdout=True, stderr=True, user=user
                )
                self._id = str(made["Id"])
                self._attached: Any = self._api.exec_start(self._id, socket=True)
        except LookupError as exc:
            raise EngineSilentError(hung=False) from exc
        # On a Unix socket and plain TCP docker-py hands out a file object around the socket.
        self._socket: socket.socket = getattr(self._attached, "_sock", self._attached)
        self._socket.settimeout(silence_s)

    def close(self) -> None:
        """End the connection. Safe to call twice."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        # docker-py hangs the response on it, which owns the connection; closing it flushes, so it goes first.
        getattr(self._attached, "_response", self._attached).close()
        self._socket.close()

    def write(self, chunks: Iterable[bytes], /) -> None:
        """Give it its standard input, which has no end: the command must know how much comes."""
        try:
            for chunk in chunks:
                self._socket.sendall(chunk)
        except OSError as exc:
            raise EngineSilentError(hung=isinstance(exc, TimeoutError)) from exc

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes of its output; nothing when it has ended. Raises EngineSilentError.

        A connection that closes while the command runs was not closed by it.
        """
        while self._code is None:
            if self._left == 0 and not self._next_frame():
                return b""
            piece = self._receive(min(size, self._left, PIECE_BYTES))
            self._left -= len(piece)
            if not piece:
                self._note_end()
            elif self._stream == STDERR:
                self.stderr = (self.stderr + piece)[:STDERR_KEPT]
            else:
                return piece
        return b""

    def exit_code(self) -> int:
        """Its exit code; what it still writes is dropped. Raises EngineSilentError if it is not told."""
        deadline = time.monotonic() + ENDED_WITHIN_S
        while self._code is None:
            self.read(PIECE_BYTES)
            if time.monotonic() > deadline:
                raise EngineSilentError(hung=True)
        return self._code

    def _next_frame(self) -> bool:
        """Whether there is one more, even an empty one."""
        header = b""
        while len(header) < _HEADER.size:
            received = self._receive(_HEADER.size - len(header))
            if not received:
                self._note_end()
                return False
            header += received
        self._stream, self._left = _HEADER.unpack(header)
        return self._left > 0 or self._next_frame()

    def _receive(self, size: int) -> bytes:
        try:
            return self._socket.recv(size)
        except OSError as exc:
            raise EngineSilentError(hung=isinstance(exc, TimeoutError)) from exc

    def _note_end(self) -> None:
        """Its output has ended, so it has or will at once; else the connection was lost."""
        deadline = time.monotonic() + ENDED_WITHIN_S
        while time.monotonic() < deadline:
            try:
                with asking():
                    found = self._api.exec_inspect(self._id)
            except LookupError as exc:
                raise EngineSilentError(hung=False) from exc
            if not found["Running"] and found["ExitCode"] is not None:
                self._code = int(found["ExitCode"])
                return
            time.sleep(_PAUSE_S)
        raise EngineSilentError(hung=True)
