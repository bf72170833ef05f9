"""A command in a running container: its streams over one connection, its exit code in the end.

Nothing is buffered beyond one frame: whoever reads decides how fast the other side may write.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from autoscorer.executor.k8s.client import Cluster, UnreachableError
from autoscorer.utils.closing import Closing

STDIN, STDOUT, STDERR, STATUS = range(4)
FRAME_BYTES = 2**16
STDERR_KEPT = 4096


class RemoteCommand(Closing):
    """One command. Read its output with `read`; `exit_code` says how it ended. Close it always."""

    def __init__(
        self,
        cluster: Cluster,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        takes_input: bool = False,
        silence_s: float = 60.0,
    ) -> None:
        """Raises RefusedError (no such pod, the container does not run), UnreachableError."""
        from websocket import ABNF, WebSocketException

        query = [("container", container), ("stdout", "true"), ("stderr", "true")]
        query += [("stdin", "true")] if takes_input else []
        query += [("command", part) for part in command]
        self._broken = (OSError, WebSocketException)
        self._close_code, self._binary = ABNF.OPCODE_CLOSE, ABNF.OPCODE_BINARY
        self._channel: Any = cluster.websocket(
            cluster.path("pods", f"{pod}/exec"), query=query, timeout_s=silence_s
        )
        self._output = b""
        self._status: dict[str, Any] | None = None
        self.stderr = b""

    def close(self) -> None:
        """End the connection at once, and the command with it. Safe to call twice."""
        self._channel.shutdown()

    def write(self, chunks: Iterable[bytes]) -> None:
        """Give it its standard input, which has no end: the command must know how much comes."""
        try:
            for chunk in chunks:
                for at in range(0, len(chunk), FRAME_BYTES):
                    self._channel.send(bytes([STDIN]) + chunk[at : at + FRAME_BYTES], opcode=self._binary)
        except self._broken as exc:
            raise UnreachableError(f"while writing: {type(exc).__name__}") from exc

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes of its output; nothing when it has ended. Raises UnreachableError."""
        while not self._output and self._status is None:
            self._receive()
        piece, self._output = self._output[:size], self._output[size:]
        return piece

    def exit_code(self, *, within_s: float = 60.0) -> int:
        """Its exit code; what it still writes is dropped. Raises UnreachableError if it is not told."""
        deadline = time.monotonic() + within_s
        while self._status is None:
            self._receive()
            self._output = b""
            if time.monotonic() > deadline:
                raise UnreachableError("the command does not end")
        if self._status.get("status") == "Success":
            return 0
        causes = (self._status.get("details") or {}).get("causes") or ()
        for cause in causes:
            if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).isdigit():
                return int(cause["message"])
        raise UnreachableError(str(self._status.get("message", "the command could not be run"))[:200])

    def _receive(self) -> None:
        try:
            opcode, frame = self._channel.recv_data_frame(control_frame=True)
        except self._broken as exc:
            raise UnreachableError(f"while reading: {type(exc).__name__}") from exc
        if opcode == self._close_code:
            raise UnreachableError("the connection was closed")
        if not frame.data:
            return
        channel, content = frame.data[0], frame.data[1:]
        if channel == STDOUT:
            self._output += content
        elif channel == STDERR:
            self.stderr = (self.stderr + content)[-STDERR_KEPT:]
        elif channel == STATUS:
            self._status = json.loads(content)
