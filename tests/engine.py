"""The test bed's Docker engine: started when none answers, stopped when the last who used it is done.

Standard library only; `scripts/testbed` uses it before anything is installed. What it knows of an engine it
started stands in a folder of the machine, not of a checkout: the engine is the machine's too.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# The kernels of small machines lack one or the other; each try gives up something the tests do not need.
TRIES: tuple[list[str], ...] = (
    [],
    ["--iptables=false", "--ip6tables=false", "--bridge=none"],
    ["--storage-driver=vfs"],
)
START_S, STOP_S = 60, 60


class Missing(Exception):  # noqa: N818 - nothing has gone wrong
    """What is not there and what a person can do about it."""


@dataclass(frozen=True)
class Engine:
    """The engine at a Unix socket. ``state`` is where ours is written down, ``log`` what it prints.

    ``claims`` are files with a process number by which an engine, or its containerd, says that it runs.
    """

    host: str
    log: Path
    state: Path = Path("/run/autoscorer-testbed")
    claims: tuple[tuple[Path, str], ...] = (
        (Path("/var/run/docker.pid"), "dockerd"),
        (Path("/var/run/docker/containerd/containerd.pid"), "containerd"),
    )
    arguments: tuple[str, ...] = ()

    @property
    def socket_path(self) -> Path:
        if not self.host.startswith("unix://"):
            raise Missing(f"DOCKER_HOST is {self.host}; the tests need a Unix socket of this machine")
        return Path(self.host.removeprefix("unix://"))

    def is_up(self) -> bool:
        try:
            return self.call("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def call(self, method: str, path: str, body: Path | None = None) -> tuple[int, bytes]:
        """One request; status and answer."""
        connection = http.client.HTTPConnection("engine", timeout=120)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(self.socket_path))
            if body is None:
                connection.request(method, path)
            else:
                with body.open("rb") as file:
                    length = str(body.stat().st_size)
                    headers = {"Content-Type": "application/x-tar", "Content-Length": length}
                    connection.request(method, path, file, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @contextmanager
    def used(self) -> Iterator[None]:
        """While within, nobody who uses it this way stops it. The last one out does, if it was started so."""
        if os.geteuid() != 0:  # then it is not ours to start or to stop
            yield
            return
        self.state.mkdir(exist_ok=True)
        with (self.state / "users").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                yield
            finally:
                with suppress(BlockingIOError):
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if self._for_a_while.exists():
                        self.stop()

    def start(self, *, for_a_while: bool) -> None:
        """Start it unless it answers; ``for_a_while``: until the last who uses it is done.

        Raises Missing.
        """
        self.state.mkdir(exist_ok=True)
        with (self.state / "start").open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not self.is_up():
                self._start()
                self._for_a_while.touch()
            if not for_a_while:
                self._for_a_while.unlink(missing_ok=True)

    def stop(self) -> bool:
        """Stop the engine that `start` started, if any; another process with its number is left alone."""
        self._for_a_while.unlink(missing_ok=True)
        try:
            pid, ticks = self._pid_file.read_text().split()
        except FileNotFoundError:
            return False
        if start_ticks(int(pid)) == ticks:
            _end(int(pid))
        self._pid_file.unlink()
        return True

    def forget_the_dead(self) -> None:
        """An engine that was killed leaves its number; a new one takes whoever has it now for that engine."""
        for path, name in self.claims:
            with suppress(OSError):
                if process_name(path.read_text().strip()) != name:
                    path.unlink()

    @property
    def _pid_file(self) -> Path:
        return self.state / "dockerd.pid"

    @property
    def _for_a_while(self) -> Path:
        return self.state / "for-a-while"

    def _start(self) -> None:
        self.forget_the_dead()
        for extra in TRIES:
            print(f"starting a Docker engine {' '.join(extra)}…", flush=True)
            pid = self._spawn(extra)
            deadline = time.monotonic() + START_S
            while start_ticks(pid) and time.monotonic() < deadline:
                if self.is_up():
                    self._pid_file.write_text(f"{pid} {start_ticks(pid)}\n")
                    return
                time.sleep(0.1)
            _end(pid)
            if self.is_up():  # another one came up meanwhile: its package has just been installed
                return
        raise Missing(f"the Docker engine does not start here; its last words are in {self.log}")

    def _spawn(self, extra: list[str]) -> int:
        """Its process number; it outlives us."""
        command = [str(program("dockerd")), f"--host=unix://{self.socket_path}", *self.arguments, *extra]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        return os.posix_spawn(command[0], command, os.environ, file_actions=files, setsid=True)


def _end(pid: int) -> None:
    """SIGTERM, and wait for its end, but not for ever."""
    ticks, deadline = start_ticks(pid), time.monotonic() + STOP_S
    if ticks:
        os.kill(pid, signal.SIGTERM)
    while ticks and start_ticks(pid) == ticks and time.monotonic() < deadline:
        time.sleep(0.1)
    with suppress(ChildProcessError):  # of an earlier call, and somebody else's to wait for
        os.waitpid(pid, os.WNOHANG)


def program(name: str) -> str | None:
    """Where a program is, also one that a user's PATH does not name."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def start_ticks(pid: int) -> str | None:
    """When the process started; None if there is none, or only its corpse."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def process_name(pid: str) -> str | None:
    try:
        return Path("/proc", pid, "comm").read_text().strip()
    except OSError:
        return None
