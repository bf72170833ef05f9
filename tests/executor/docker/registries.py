"""Registries on loopback: Debian's docker-registry, and a server before it that fails as told."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.executor.docker.engines import wait_until

USER, PASSWORD = "tester", "correct-horse"
_BCRYPT = "$2b$04$MLML3WqL5M6a0Kl5LMDfpejs5JerdTpIoq595s2by3Wps1EkA054i"  # of that password


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def registry(folder: Path, *, password: bool = False) -> Iterator[str]:
    """A registry that keeps its images under ``folder``; gives ``host:port``."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed; scripts/testbed installs it")
    port = free_port()
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if password:
        (folder / "htpasswd").write_text(f"{USER}:{_BCRYPT}\n")
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    file = folder / f"registry-{port}.json"
    file.write_text(json.dumps(config))
    with (folder / "registry.log").open("ab") as log:
        process = subprocess.Popen([program, "serve", str(file)], stdout=log, stderr=log)
    try:
        wait_until(lambda: _listens(port))
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Front:
    """What the server before a registry does: the first ``failures`` requests for a manifest fail."""

    host: str
    status: int
    body: bytes
    failures: int
    asked: list[str] = field(default_factory=list)


@contextmanager
def front(
    backend: str | None,
    *,
    status: int,
    failures: int,
    body: bytes = b"",
    media_type: str = "application/json",
) -> Iterator[Front]:
    """A registry that is unwell, then passes on to ``backend``; without one it has nothing."""
    told = Front(host="", status=status, body=body, failures=failures)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if "/manifests/" in self.path:
                told.asked.append(f"{self.command} {self.path}")
                if len(told.asked) <= told.failures:
                    self._send(told.status, {"Content-Type": media_type}, told.body)
                    return
            if backend is None:
                self._send(200, {"Content-Type": "application/json"}, b"{}")
                return
            channel = http.client.HTTPConnection(backend, timeout=10)
            names = {name.lower() for name in self.headers} - {"host"}
            headers = {name: ", ".join(self.headers.get_all(name, [])) for name in names}
            channel.request(self.command, self.path, headers=headers)
            answer = channel.getresponse()
            content = answer.read()
            kept = {
                name: value
                for name, value in answer.getheaders()
                if name.lower() not in ("content-length", "date", "transfer-encoding", "connection")
            }
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self._send(answer.status, kept, content, length=length)
            channel.close()

        do_HEAD = do_GET  # noqa: N815

        def _send(
            self, status: int, headers: dict[str, str], content: bytes, *, length: str | None = None
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent_registry() -> Iterator[str]:
    """Accepts and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
