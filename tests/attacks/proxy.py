"""A socket in front of the engine that fails chosen calls, or tells when one comes."""

from __future__ import annotations

import http.client
import json
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Judge = Callable[[str], int | None]
"""Asked before a call is passed on, with its plain name; a status refuses it."""
Witness = Callable[[str], None]
"""Told when the engine has answered, before the answer is passed on."""
_VERSION = re.compile(r"^/v[0-9.]+")
_IDENTITY = re.compile(r"/(containers|networks)/[^/]+(?=/|$)|/(images)/.+(?=/json$)")


def plain_name(method: str, path: str) -> str:
    """``POST /v1.41/containers/3f2a…/start?x=1`` as ``POST /containers/*/start``.

    A container of a name that no container can have is none: `mounting.sees_files` asks so.
    """
    if path.endswith("/containers/create?name=-"):
        return f"{method} /containers/create?name=-"
    path = _VERSION.sub("", path.partition("?")[0])
    if path in ("/containers/create", "/containers/json", "/images/load", "/images/create"):
        return f"{method} {path}"
    return f"{method} {_IDENTITY.sub(lambda found: f'/{found[1] or found[2]}/*', path)}"


class Proxy:
    """What the socket does now: `judge`, `witness`, and keys put into the answers of a call."""

    def __init__(self, host: str, upstream: Path) -> None:
        self.host = host
        self.upstream = upstream
        self.judge: Judge = lambda _call: None
        self.witness: Witness = lambda _call: None
        self.rewrites: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []

    def refuse(self, call: str, status: int = 500, *, times: int = 10**6) -> None:
        """Fail this call so many times, and no other."""
        left = times

        def judge(seen: str) -> int | None:
            nonlocal left
            if seen != call or left == 0:
                return None
            left -= 1
            return status

        self.judge = judge


@contextmanager
def proxy(folder: Path, upstream: str) -> Iterator[Proxy]:
    """A proxy on a socket in ``folder`` to the engine at ``upstream``, both Unix sockets."""
    path = folder / "proxy.sock"
    state = Proxy(f"unix://{path}", Path(upstream.removeprefix("unix://")))

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            _serve(self.request, state)

    server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        path.unlink()


def _serve(client: socket.socket, state: Proxy) -> None:
    """One request a connection: the engine is told to close after its answer."""
    try:
        head, body = _read_request(client)
        if not head:
            return
        call = plain_name(*head.split(b"\r\n", 1)[0].decode().split(" ")[:2])
        state.calls.append(call)
        status = state.judge(call)
        if status is not None:
            _answer(client, status, {"message": "refused by the test"})
            return
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(str(state.upstream))
            engine.sendall(_closing(head) + body)
            if call in state.rewrites:
                _answer(client, *_changed(engine, state.rewrites[call]))
                return
            first = engine.recv(65536)
            state.witness(call)
            client.sendall(first)
            _relay_both(client, engine, upgraded=b"101 " in first[:20] or b"upgrade" in head.lower())
    except OSError:
        pass  # whoever was killed or stopped hangs up; that is what the test is about


def _answer(client: socket.socket, status: int, document: dict[str, Any]) -> None:
    text = json.dumps(document).encode()
    head = f"HTTP/1.1 {status} Test\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
    client.sendall(head.encode() + b"Connection: close\r\n\r\n" + text)


def _changed(engine: socket.socket, changes: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The engine's answer with these keys of ours."""
    with http.client.HTTPResponse(engine) as response:
        response.begin()
        return response.status, {**json.loads(response.read()), **changes}


def _read_request(client: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = client.recv(65536)
        if not chunk:
            return b"", b""
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    while len(body) < (int(length[1]) if length else 0):
        body += client.recv(65536)
    return head + b"\r\n\r\n", body


def _closing(head: bytes) -> bytes:
    if b"upgrade" in head.lower():
        return head
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([lines[0], b"Connection: close", *lines[1:]])


def _relay_both(client: socket.socket, engine: socket.socket, *, upgraded: bool) -> None:
    upstream = threading.Thread(target=_relay, args=(client, engine), daemon=True)
    if upgraded:
        upstream.start()
    _relay(engine, client)
    if upgraded:
        client.shutdown(socket.SHUT_RDWR)
        upstream.join(5)


def _relay(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(65536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
