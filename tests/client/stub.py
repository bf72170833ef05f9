"""A scripted server: answers by the script, remembers what it was asked, and can misbehave in every way."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Reply = Callable[[socket.socket], None]
JOB: Mapping[str, Any] = {
    "task_id": "t1",
    "job_id": "job-1",
    "action": "pipeline",
    "workspace": "examples/test",
    "state": "queued",
    "is_final": False,
    "told": {"en": "Waiting.", "zh": "等待。"},
    "turn": "scheduler",
    "stage": None,
    "queue": "cpu",
    "priority": 0,
    "backend": None,
    "scorer": None,
    "attempt": 0,
    "attempts_allowed": 3,
    "submitted_by": "me",
    "created_at": "2026-01-01T00:00:00.000Z",
    "started_at": None,
    "finished_at": None,
    "seconds": None,
    "error": None,
    "links": {},
}
DONE = {**JOB, "state": "succeeded", "is_final": True, "turn": "nobody"}


@dataclass(frozen=True)
class Asked:
    """One request as it came; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)


@dataclass
class Stub:
    """``script`` has the replies of each "METHOD /path", in order; the last one is given again and again."""

    script: dict[str, list[Reply]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    _listener: socket.socket | None = None
    _connections: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def on(self, what: str, *replies: Reply) -> None:
        self.script[what] = list(replies)

    def requests(self, what: str) -> list[Asked]:
        return [one for one in self.asked if f"{one.method} {one.target.partition('?')[0]}" == what]

    def open(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(32)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for connection in self._connections:
            _end(connection)
        self._connections.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            asked = _read(connection)
            if asked is not None:
                self.asked.append(asked)
                replies = self.script.get(f"{asked.method} {asked.target.partition('?')[0]}", [])
                reply = replies.pop(0) if len(replies) > 1 else (replies or [refused("NOT_FOUND", 404)])[0]
                reply(connection)
        _end(connection)


@contextmanager
def serving() -> Iterator[Stub]:
    stub = Stub()
    stub.open()
    try:
        yield stub
    finally:
        stub.close()


def ok(data: Mapping[str, Any], *, status: int = 200) -> Reply:
    envelope = {"ok": True, "status": "success", "data": data, "error": None, "meta": {"request_id": "r1"}}
    return raw(json.dumps(envelope).encode(), status=status)


def refused(
    code: str,
    status: int,
    *,
    message: str = "no",
    headers: Mapping[str, str] | None = None,
    stage: str = "api",
    **details: Any,
) -> Reply:
    error = {"code": code, "message": message, "stage": stage, "details": details}
    envelope = {"ok": False, "status": "error", "data": {}, "error": error, "meta": {"request_id": "r1"}}
    return raw(json.dumps(envelope).encode(), status=status, headers=headers)


def raw(
    body: bytes,
    *,
    status: int = 200,
    kind: str = "application/json",
    headers: Mapping[str, str] | None = None,
    announced: int | None = None,
) -> Reply:
    """``announced`` bytes are promised, ``body`` comes."""

    def reply(connection: socket.socket) -> None:
        all_headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body) if announced is None else announced),
            "Connection": "close",
            **(headers or {}),
        }
        connection.sendall(_head(status, all_headers) + body)

    return reply


def dropped(connection: socket.socket) -> None:
    """The connection ends without an answer."""


def silent(connection: socket.socket) -> None:
    """Nothing comes until the other side gives up."""
    connection.recv(1)


def dripping(connection: socket.socket) -> None:
    """Blanks for ever, one after the other, before an answer that never comes."""
    connection.sendall(_head(200, {"Content-Type": "application/json", "Connection": "close"}))
    connection.settimeout(0.02)
    while True:
        connection.sendall(b" ")
        with suppress(TimeoutError):
            if not connection.recv(1):
                return


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"\x00\xffSSH-2.0-nothing of the kind\r\n\r\n")


def events(*parts: Mapping[str, Any] | str, hang: bool = False) -> Reply:
    """A stream of events and of text as it is; then it ends, or hangs until the other side gives up."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(_head(200, {"Content-Type": "text/event-stream", "Connection": "close"}))
        for part in parts:
            text = part if isinstance(part, str) else event_text(part)
            connection.sendall(text.encode())
        if hang:
            connection.recv(1)

    return reply


def event(number: int, name: str = "stage_started") -> dict[str, Any]:
    at = "2026-01-01T00:00:00.000Z"
    return {"number": number, "at": at, "attempt": 1, "name": name, "facts": {}}


def event_text(value: Mapping[str, Any]) -> str:
    return f"id: {value['number']}\nevent: {value['name']}\ndata: {json.dumps(value)}\n\n"


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _read(connection: socket.socket) -> Asked | None:
    come = b""
    while b"\r\n\r\n" not in come:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        come += chunk
    head, _, body = come.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, target, _ = first.split(" ", 2)
    return Asked(method, target, headers, _rest(connection, body, headers))


def _rest(connection: socket.socket, body: bytes, headers: Mapping[str, str]) -> bytes:
    def more() -> bytes:
        chunk = connection.recv(65536)
        if not chunk:
            raise OSError("gone")
        return chunk

    if "chunked" not in headers.get("transfer-encoding", ""):
        while len(body) < int(headers.get("content-length", 0)):
            body += more()
        return body
    whole = b""
    while True:
        while b"\r\n" not in body:
            body += more()
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        while len(body) < length + 2:
            body += more()
        whole, body = whole + body[:length], body[length + 2 :]
        if length == 0:
            return whole


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def replies(*what: Sequence[Reply]) -> list[Reply]:
    return [one for some in what for one in some]
