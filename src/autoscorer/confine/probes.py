"""What a backend really enforces: every isolation property, attacked from inside what it confines."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from autoscorer.confine import properties
from autoscorer.confine.caps import Caps
from autoscorer.confine.spawn import Command, Confined
from autoscorer.utils.errors import AutoscorerError

MEMORY_BYTES = 96 * 2**20
TASKS = 48
CPU_CORES = 0.2
CPU_BURN_S = 0.3
OUTPUT_BYTES = 2**20
LOG_BYTES = 2**16
TIME_LIMIT_S = 10.0
INSIDE: Mapping[str, tuple[str, str]] = {
    "network": (properties.NETWORK, "a listener on the host's loopback and an abstract Unix socket"),
    "filesystem": (
        properties.FILESYSTEM,
        "files of the host, the truth among them, /sys, inherited descriptors",
    ),
    "read_only": (properties.READ_ONLY, "to write into /, /usr, input/, meta.json, /proc/sys and /sys"),
    "processes": (properties.PROCESSES, "to signal our process and to read every environment"),
    "ipc": (properties.IPC, "whether one is the host's"),
    "capabilities": (properties.CAPABILITIES, "its capability sets and its user"),
    "user_namespaces": (properties.USER_NAMESPACES, "to make one"),
    "seccomp": (properties.SECCOMP, "a keyring and a vsock"),
    "no_new_privileges": (properties.NO_NEW_PRIVILEGES, "the flag of the process"),
    "environment": (properties.CLEAN_ENVIRONMENT, "a secret in the environment"),
}
"""A check of `probe_program` to the property it attacks, and what it tries."""

_HOG_MEMORY = f"import time; hog = bytearray({4 * MEMORY_BYTES}); time.sleep(1)"
_BURN_CPU = f"""
import time
started = time.monotonic()
while time.process_time() < {CPU_BURN_S}:
    pass
open("output/took_s", "w").write(str(time.monotonic() - started))
"""
_FORK_MANY = """
import os, time
made = 0
try:
    while made < 200:
        if os.fork() == 0:
            time.sleep(60)
        made += 1
finally:
    open("output/made", "w").write(str(made))
"""
_WRITE_MUCH = f"""
file = open("output/flood", "wb")
for _ in range(100):
    file.write(bytes({OUTPUT_BYTES})); file.flush()
import time; time.sleep(60)
"""
_PRINT_MUCH = f"""
for _ in range(100):
    print("x" * {LOG_BYTES})
"""
_LEAVE_DAEMON = """
import fcntl, os, time
lock = os.open("output/lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
"""
_NEVER_END = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One property of `confine.properties`: what was tried if it holds, what was possible if not."""

    name: str
    enforced: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What a backend enforces on this machine, and what to do about the rest.

    ``engine`` are the backend's own facts, ``never_enforced`` maps a property to what its lack means.
    """

    backend: str
    probes: tuple[Probe, ...]
    never_enforced: Mapping[str, str]
    engine: Mapping[str, Any] = field(default_factory=dict)
    advice: tuple[str, ...] = ()

    @property
    def failing(self) -> list[str]:
        return [probe.name for probe in self.probes if not probe.enforced]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one attack is given to break out of; None is what the backend gives by itself."""

    memory_bytes: int | None = None
    tasks: int | None = None
    cpu_cores: float | None = None
    output_bytes: int | None = None
    time_limit_s: float = TIME_LIMIT_S


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How one attack ended; ``log_bytes`` is what was kept of what it printed."""

    exit_code: int | None
    duration_s: float
    over_output: bool
    stderr_tail: str
    log_bytes: int


Look = Callable[[Path], None]


def _look_at_nothing(_output: Path) -> None:
    return None


class Prober(ABC):
    """A throw-away workspace for each attack, and the things on the host that no program may reach.

    A backend gives `run`. Takes about four seconds, most of it for a program that will not end.
    """

    inside: Mapping[str, tuple[str, str]] = INSIDE
    output_property = properties.OUTPUT
    shows_sysfs = False
    engine_socket: str | None = None

    def __init__(self) -> None:
        self._resources = ExitStack()
        self._root = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="autoscorer-")))
        self._runs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    @abstractmethod
    def run(
        self, folder: Path, program: tuple[str, ...], bounds: Bounds, look: Look = _look_at_nothing
    ) -> Trial:
        """Run ``program`` in the workspace ``folder`` as a job runs.

        ``look`` gets the folder it wrote into, when nothing of it should run any more and before that
        folder is taken away. Raises AutoscorerError when the backend cannot run anything.
        """

    def attack(self) -> list[Probe]:
        """Attack each property and say what held. Never raises for what this machine lacks."""
        try:
            inside = self.attack_from_inside()
        except AutoscorerError as exc:
            return [Probe(name="sandbox", enforced=False, detail=exc.message)]
        return [
            *inside,
            self.memory_limit(),
            self.process_limit(),
            self.cpu_limit(),
            self.output_limit(),
            self.log_limit(),
            self.daemons(),
            self.time_limit(),
        ]

    def attack_from_inside(self) -> list[Probe]:
        folder = self._workspace()
        self._write_facts(folder)
        script = Path(__file__).with_name("probe_program.py")
        shutil.copyfile(script, folder / "input" / script.name)
        found: dict[str, list[str]] = {}

        def read_findings(output: Path) -> None:
            if (output / "findings.json").exists():
                found.update(json.loads((output / "findings.json").read_bytes()))

        trial = self.run(folder, ("python", f"input/{script.name}"), Bounds(), read_findings)
        if not found:
            reason = trial.stderr_tail.splitlines()[-1:] or ["it ended without findings"]
            raise AutoscorerError("RESOURCE_UNAVAILABLE", f"The probing program failed: {reason[0]}")
        return [told(name, tried, "; ".join(found[check])) for check, (name, tried) in self.inside.items()]

    def memory_limit(self) -> Probe:
        trial = self.run(self._workspace(), python(_HOG_MEMORY), Bounds(memory_bytes=MEMORY_BYTES))
        broken_by = "used four times its limit" if trial.exit_code == 0 else ""
        return told("memory limit", "four times the limit", broken_by)

    def process_limit(self) -> Probe:
        made = int(self._written_by(_FORK_MANY, "made", Bounds(tasks=TASKS)) or 0)
        # Where a resource limit has to do, it leaves room for what else our user may start.
        broken_by = f"made {made} processes" if made >= 2 * TASKS else ""
        return told("process limit", "four times the limit", broken_by)

    def cpu_limit(self) -> Probe:
        took_s = float(self._written_by(_BURN_CPU, "took_s", Bounds(cpu_cores=CPU_CORES)) or "inf")
        broken_by = "computed at full speed" if took_s < 2 * CPU_BURN_S else ""
        return told("cpu limit", "to compute with a fifth of a core", broken_by)

    def output_limit(self) -> Probe:
        trial = self.run(self._workspace(), python(_WRITE_MUCH), Bounds(output_bytes=OUTPUT_BYTES))
        return told(
            self.output_property, "a hundred times the limit", "" if trial.over_output else "wrote on"
        )

    def log_limit(self) -> Probe:
        trial = self.run(self._workspace(), python(_PRINT_MUCH), Bounds())
        broken_by = f"filled {trial.log_bytes} bytes" if trial.log_bytes > 2 * LOG_BYTES else ""
        return told(properties.LOG, "a hundred times the limit", broken_by)

    def daemons(self) -> Probe:
        outlived: list[str] = []
        self.run(
            self._workspace(),
            python(_LEAVE_DAEMON),
            Bounds(),
            lambda output: outlived.extend(_lock_holders(output / "lock")),
        )
        tried = "one that forked twice, in a session of its own"
        return told(properties.WHOLE_TREE, tried, "; ".join(outlived))

    def time_limit(self) -> Probe:
        trial = self.run(self._workspace(), python(_NEVER_END), Bounds(time_limit_s=0.5))
        late = trial.duration_s > TIME_LIMIT_S
        return told(properties.TIME, "a program that ignores SIGTERM", "ran on" if late else "")

    def _written_by(self, source: str, name: str, bounds: Bounds) -> str:
        """What the program wrote into output/``name``, empty if it did not come to it."""
        found: list[str] = []

        def read(output: Path) -> None:
            if (output / name).exists():
                found.append((output / name).read_text())

        self.run(self._workspace(), python(source), bounds, read)
        return "".join(found)

    def _workspace(self) -> Path:
        self._runs += 1
        folder = self._root / str(self._runs)
        for name in ("input", "reference"):
            (folder / name).mkdir(parents=True)
        (folder / "meta.json").write_text("{}")
        return folder

    def _write_facts(self, folder: Path) -> None:
        secret = secrets.token_hex(16)
        for name in ("host-file", "reference/truth"):
            (folder / name).write_text(secret)
        listener = self._resources.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = self._resources.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0autoscorer-{secret}")
        abstract.listen()
        sleep = Command(argv=("/usr/bin/env", "sleep", "60"), env={"SECRET": secret}, cwd=Path("/"))
        bystander = Confined(sleep, Caps(), log_path=folder / "bystander.log", log_bytes=0)
        self._resources.callback(bystander.close)
        facts = {
            "secret": secret,
            "port": listener.getsockname()[1],
            "abstract_socket": f"\0autoscorer-{secret}",
            "host_files": [str(folder / "host-file"), str(folder / "reference" / "truth")],
            "host_pid": os.getpid(),
            "host_uid": os.getuid(),
            "host_namespaces": {name: str(Path("/proc/self/ns", name).readlink()) for name in _NAMESPACES},
            "shows_sysfs": self.shows_sysfs,
            "engine_socket": self.engine_socket,
        }
        (folder / "input" / "facts.json").write_text(json.dumps(facts))


_NAMESPACES = ("cgroup", "ipc", "pid", "uts")


def python(source: str) -> tuple[str, ...]:
    return ("python", "-c", source)


def told(name: str, tried: str, broken_by: str) -> Probe:
    """The answer for one property; ``broken_by`` is empty when it held."""
    return Probe(name=name, enforced=not broken_by, detail=broken_by or f"tried {tried}")


def _lock_holders(path: Path) -> list[str]:
    """A sentence if somebody still holds the lock that the program took."""
    lock = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return ["a daemon outlived its program"]
    finally:
        os.close(lock)
    return []
