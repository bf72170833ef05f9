"""A line between a worker and its broker, to be cut, or to go silent."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Line:
    """Forwards what comes to a port of the loopback to another one."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._all: list[socket.socket] = []
        self._flows = threading.Event()
        self._flows.set()
        self.connections = 0

    def cut(self) -> int:
        """Reset every connection; how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):  # a reset, not an orderly end
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        return len(pairs)

    def silence(self) -> None:
        """Let nothing through any more; connections stay as they are, new ones are taken and not answered."""
        self._flows.clear()

    def resume(self) -> None:
        """Let new connections through; those of before stay silent, as behind a router that forgot them."""
        with self._lock:
            self._pairs = []
        self._flows.set()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            try:
                upstream = socket.create_connection(("127.0.0.1", self._upstream), timeout=5)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, upstream))
                self._all += [client, upstream]
            threading.Thread(target=self._carry, args=(client, upstream), daemon=True).start()

    def _carry(self, client: socket.socket, upstream: socket.socket) -> None:
        other = {client: upstream, upstream: client}
        was_silent = False
        with selectors.DefaultSelector() as selector, suppress(OSError, ValueError):
            for end in other:
                selector.register(end, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(0.2):
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    was_silent = was_silent or not self._flows.is_set()
                    if was_silent:
                        self._flows.wait(60)
                        return  # whatever was said meanwhile is lost, and nobody is told
                    chunk = source.recv(65536)
                    if not chunk:
                        for end in other:
                            end.close()
                        return
                    other[source].sendall(chunk)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._flows.set()
        self.cut()
        for end in self._all:
            end.close()


@contextmanager
def line_to(upstream: int) -> Iterator[Line]:
    line = Line(upstream)
    thread = threading.Thread(target=line.serve, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        line.close()
        thread.join(5)
