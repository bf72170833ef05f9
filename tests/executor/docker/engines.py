"""Engines for tests: the real one, and small servers that misbehave on a socket of their own."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from autoscorer.executor.base import AttemptPlan, Limits
from autoscorer.utils.config import Config, Settings

Answer = tuple[int, Any]


def settings_with(**environ: str) -> Settings:
    """Settings from these variables alone."""
    return Config("/nonexistent/config.yaml", environ=environ).settings


def settings_of(socket_path: Path, **environ: str) -> Settings:
    return settings_with(DOCKER_HOST=f"unix://{socket_path}", **environ)


def plan_for(image: str, folder: Path, *, gpus: int = 0, command: tuple[str, ...] = ("true",)) -> AttemptPlan:
    limits = Limits(
        cpu_cores=1, memory_bytes=2**26, gpus=gpus, shm_bytes=2**20, time_limit_s=10, output_bytes=2**20
    )
    return AttemptPlan(
        job_id="job-1",
        attempt_id="1",
        image=image,
        command=command,
        env={},
        limits=limits,
        input_dir=folder / "input",
        spec_path=folder / "meta.json",
        attempt_dir=folder / ".attempts" / "1",
        logs_dir=folder / "logs",
    )


@contextmanager
def http_engine(
    path: Path, answer: Callable[[str, str], Answer], requests: list[tuple[str, dict[str, str]]] | None = None
) -> Iterator[None]:
    """A server on a Unix socket; ``answer(method, path)`` gives status and JSON (or text)."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            if requests is not None:
                requests.append((self.path, dict(self.headers.items())))
            status, body = answer(self.command, self.path)
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _reply  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return "unix"

    server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent_engine(path: Path, *, drip: bytes = b"") -> Iterator[None]:
    """Accepts and never answers; with ``drip`` it sends that byte again and again, and no more."""
    over = threading.Event()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    accepted: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                accepted.append(listener.accept()[0])
            except OSError:
                return
            while drip and not over.wait(0.2):
                try:
                    accepted[-1].sendall(drip)
                except OSError:
                    break

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for channel in accepted:
            channel.close()


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        threading.Event().wait(0.02)
