"""An engine of a test's own, to be stopped, killed and frozen: the shared one is never touched."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.executor.attempts import eventually
from tests.executor.docker.containers import BUSYBOX, mounts_below
from tests.executor.docker.registries import free_port

# A mount namespace is made with all mounts there are: one of another test's capped output would keep its loop
# device for as long as the engine is up.
LET_GO = "grep -o '^/dev/loop[^ ]* [^ ]*' /proc/mounts | cut -d ' ' -f 2 | xargs -r umount -l"


class OwnEngine:
    """dockerd with everything of it below ``folder``, and the busybox image in it.

    With ``hidden`` it is as on another machine: it listens on TCP as well, by TLS with ``certificates``, and
    does not see that folder.
    """

    def __init__(self, folder: Path, *, hidden: Path | None = None, certificates: Path | None = None) -> None:
        self._folder = folder
        self._hidden = hidden
        self._certificates = certificates
        self._port = free_port() if hidden else 0
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = folder / "d.sock"

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def address(self) -> str:
        """Where it listens for other machines."""
        return f"tcp://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._forget_a_dead_containerd()
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._apart(),
                    shutil.which("dockerd") or "/usr/sbin/dockerd",
                    f"--host={self.host}",
                    f"--data-root={self._folder / 'data'}",
                    f"--exec-root={self._folder / 'exec'}",
                    f"--pidfile={self._folder / 'pid'}",
                    "--bridge=none",
                    "--iptables=false",
                    "--ip6tables=false",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        assert eventually(self.answers, within_s=90), (self._folder / "log").read_text()[-2000:]

    def _apart(self) -> list[str]:
        if self._hidden is None:
            return []
        keys = self._certificates
        files = {"tlscacert": "ca.pem", "tlscert": "engine.pem", "tlskey": "engine.key"}
        tls = [f"--{flag}={keys / name}" for flag, name in files.items()] if keys else []
        listen = [f"--host={self.address}", "--tlsverify" if keys else "--tls=false", *tls]
        script = f'{LET_GO}; mount -t tmpfs none "$0" && exec "$@" {shlex.join(listen)}'
        return ["unshare", "-m", "sh", "-c", script, str(self._hidden)]

    def _forget_a_dead_containerd(self) -> None:
        """It ends with a dockerd that is killed. Where the machine's first process is slow to reap, the next
        dockerd takes the zombie for running, and waits for it in vain.
        """
        noted = self._folder / "exec" / "containerd" / "containerd.pid"
        if not noted.exists():
            return
        pid = int(noted.read_text())
        if eventually(lambda: state_of(pid) in ("", "Z", "X"), within_s=10):
            noted.unlink()

    def answers(self) -> bool:
        return self.docker("version", check=False).returncode == 0

    def load_busybox(self) -> None:
        saved = subprocess.run(["docker", "save", BUSYBOX], capture_output=True, check=True).stdout
        self.docker("load", given=saved)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Signal it and wait for its end: SIGTERM ends its containers, SIGKILL leaves them."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(90)

    def freeze(self) -> None:
        """It still accepts connections and answers no more."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            for name in self.docker("ps", "-aq", check=False).stdout.decode().split():
                self.docker("rm", "-f", name, check=False)
            self._process.terminate()
            self._process.wait(90)
            self._end_empty_shims()
        else:  # nobody is there who would end its containers
            for pid in self.leftovers():
                with suppress(psutil.NoSuchProcess):
                    shim = psutil.Process(pid)
                    for process in (*shim.children(recursive=True), shim):
                        with suppress(psutil.NoSuchProcess):
                            process.kill()
        assert eventually(lambda: not self.leftovers(), within_s=60), self.leftovers()
        for path in reversed(mounts_below(self._folder)):  # a dockerd that was killed leaves its data's
            subprocess.run(["umount", "-l", path], check=False)

    def _end_empty_shims(self) -> None:
        """A dockerd that was killed while a container began forgets its shim, which has no process then."""
        for pid in self.leftovers():
            with suppress(psutil.NoSuchProcess):
                shim = psutil.Process(pid)
                if "shim" in shim.name() and not shim.children():
                    shim.kill()

    def leftovers(self) -> list[int]:
        """Processes that name this engine's folder: its containerd and its containers' shims."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                command = Path("/proc", name, "cmdline").read_bytes()
            except OSError:
                continue
            if str(self._folder).encode() in command and int(name) != os.getpid():
                found.append(int(name))
        return found

    def docker(
        self, *arguments: str, given: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        command = ["docker", "-H", self.host, *arguments]
        return subprocess.run(command, input=given, capture_output=True, check=check, timeout=90)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


def state_of(pid: int) -> str:
    """The letter of a process's state; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@contextmanager
def own_engine(
    folder: Path, *, hidden: Path | None = None, certificates: Path | None = None
) -> Iterator[OwnEngine]:
    """Started and with the image in it; stopped afterwards, whatever a test did to it."""
    folder.mkdir(parents=True)
    engine = OwnEngine(folder, hidden=hidden, certificates=certificates)
    try:
        engine.start()
        engine.load_busybox()
        yield engine
    finally:
        engine.close()
        shutil.rmtree(folder, ignore_errors=True)
