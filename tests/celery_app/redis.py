"""A private Redis on a free port of the loopback, keeping nothing: killed, it comes back empty."""

from __future__ import annotations

import functools
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.worker.sites import until


@functools.cache
def missing_redis() -> str | None:
    """Why there is no Redis to test with, if there is none."""
    if shutil.which("redis-server") is None:
        return "redis-server is missing (apt-get install redis-server)"
    return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class RedisServer:
    """A Redis server of our own."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "no", "--databases", "1", "--daemonize", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.answers, what="Redis answers")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()

    def answers(self) -> bool:
        import redis

        try:
            return self.call("PING") is not None
        except redis.RedisError:
            return False

    def call(self, *words: str | bytes | int) -> Any:
        """One command over a connection of its own."""
        import redis

        with redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=5) as client:
            return client.execute_command(*words)

    def messages(self, queue: str = "cpu") -> int:
        """How many wait in a queue, those that were taken and not acknowledged left out."""
        return int(self.call("LLEN", queue))


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
