"""Receivers of callbacks on loopback: good ones, and ones that do their worst."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Script = Callable[[socket.socket, "Receiver"], None]


@dataclass(frozen=True)
class Arrived:
    """A request as it arrived. Header names are in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(eq=False)
class Receiver:
    """What a receiver saw. ``released`` lets those go that hang."""

    host: str
    port: int
    arrived: list[Arrived] = field(default_factory=list)
    connections: int = 0
    sent_bytes: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    script: Script | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.arrived]


@contextmanager
def receiving(
    script: Script | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Receiver]:
    """Listen until the block ends. ``script`` answers on each connection; without one it is 204."""
    with socket.create_server((host, port), backlog=128) as listener:
        receiver = Receiver(host, listener.getsockname()[1], script=script)
        threads: list[threading.Thread] = []

        def serve_one(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                channel = tls.wrap_socket(connection, server_side=True) if tls else connection
                with channel:
                    (receiver.script or answering(204))(channel, receiver)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                receiver.connections += 1
                threads.append(threading.Thread(target=serve_one, args=(connection,), daemon=True))
                threads[-1].start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield receiver
        finally:
            receiver.released.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(30)
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive()


def read_request(channel: socket.socket) -> Arrived:
    """One request, all of it. Raises OSError when the other side leaves."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += _more(channel)
    head, _, body = got.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
    while len(body) < int(headers.get("content-length", "0")):
        body += _more(channel)
    return Arrived(line, headers, body)


def _more(channel: socket.socket) -> bytes:
    found = channel.recv(65536)
    if not found:
        raise ConnectionError
    return found


def answering(status: int, *headers: str, body: bytes = b"") -> Script:
    """Read the request, note it, answer."""
    fields = "".join(f"{header}\r\n" for header in (*headers, f"Content-Length: {len(body)}"))
    answer = f"HTTP/1.1 {status} Whatever\r\n{fields}\r\n".encode() + body

    def script(channel: socket.socket, receiver: Receiver) -> None:
        receiver.arrived.append(read_request(channel))
        channel.sendall(answer)

    return script


def hanging(channel: socket.socket, receiver: Receiver) -> None:
    """Take the request and say nothing."""
    receiver.arrived.append(read_request(channel))
    receiver.released.wait(120)


def deaf(channel: socket.socket, receiver: Receiver) -> None:
    """Take the connection and nothing else."""
    receiver.released.wait(120)


def dripping(before: bytes, drop: bytes = b"x", *, every_s: float = 0.02) -> Script:
    """After the request say ``before``, then a byte at a time for ever."""

    def script(channel: socket.socket, receiver: Receiver) -> None:
        receiver.arrived.append(read_request(channel))
        channel.sendall(before)
        while not receiver.released.wait(every_s):
            channel.sendall(drop)
            receiver.sent_bytes += len(drop)

    return script


def flooding(before: bytes, *, at_most: int = 10 * 2**30) -> Script:
    """After the request say ``before``, then 10 GB as fast as they are taken."""
    block = b"a" * 65536

    def script(channel: socket.socket, receiver: Receiver) -> None:
        receiver.arrived.append(read_request(channel))
        channel.sendall(before)
        while receiver.sent_bytes < at_most:
            channel.sendall(block)
            receiver.sent_bytes += len(block)

    return script


def saying(raw: bytes) -> Script:
    """After the request say just this."""

    def script(channel: socket.socket, receiver: Receiver) -> None:
        receiver.arrived.append(read_request(channel))
        channel.sendall(raw)

    return script
