"""What this machine really enforces: every isolation property, attacked from inside a sandbox."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from autoscorer.confine import properties
from autoscorer.confine.bubblewrap import Sandbox
from autoscorer.confine.caps import Caps
from autoscorer.confine.plain import plain_command
from autoscorer.confine.spawn import Command, Confined, Ended
from autoscorer.confine.view import View
from autoscorer.confine.watch import OutputWatch
from autoscorer.utils.errors import AutoscorerError

MEMORY_BYTES = 96 * 2**20
TASKS = 48
CPU_CORES = 0.2
CPU_BURN_S = 0.3
OUTPUT_BYTES = 2**20
TIME_LIMIT_S = 10.0
_CHECKED_INSIDE = {
    "network": properties.NETWORK,
    "filesystem": properties.FILESYSTEM,
    "read_only": properties.READ_ONLY,
    "processes": properties.PROCESSES,
    "capabilities": properties.CAPABILITIES,
    "user_namespaces": properties.USER_NAMESPACES,
    "seccomp": properties.SECCOMP,
    "no_new_privileges": properties.NO_NEW_PRIVILEGES,
    "environment": properties.CLEAN_ENVIRONMENT,
}
_TRIED = {
    properties.NETWORK: "a listener on the host's loopback and an abstract Unix socket",
    properties.FILESYSTEM: "files of the host, the truth among them, /sys, inherited descriptors",
    properties.READ_ONLY: "to write into /, /usr, input/, meta.json and /proc/sys",
    properties.PROCESSES: "to signal our process and to read every environment",
    properties.CAPABILITIES: "its capability sets and its user",
    properties.USER_NAMESPACES: "to make one",
    properties.SECCOMP: "a keyring and a vsock",
    properties.NO_NEW_PRIVILEGES: "the flag of the process",
    properties.CLEAN_ENVIRONMENT: "a secret in the environment",
    "memory limit": "four times the limit",
    "process limit": "four times the limit",
    "cpu limit": "to compute with a fifth of a core",
    properties.OUTPUT: "a hundred times the limit",
    properties.WHOLE_TREE: "one that forked twice, in a session of its own",
    properties.TIME: "a program that ignores SIGTERM",
}
_HOG_MEMORY = f"import time; hog = bytearray({4 * MEMORY_BYTES}); time.sleep(1)"
_BURN_CPU = f"""
import time
while time.process_time() < {CPU_BURN_S}:
    pass
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


def probe_isolation(*, hardened: bool = True) -> list[Probe]:
    """Attack each property and say what held; ``hardened=False`` shows the attacks without a sandbox.

    Takes about four seconds, most of it for a program that will not end. Never raises for what this
    machine lacks.
    """
    with _Prober(hardened=hardened) as prober:
        try:
            inside = prober.attack_from_inside()
        except AutoscorerError as exc:
            return [Probe(name="sandbox", enforced=False, detail=exc.message)]
        return [
            *inside,
            prober.memory_limit(),
            prober.process_limit(),
            prober.cpu_limit(),
            prober.output_limit(),
            prober.daemons(),
            prober.time_limit(),
        ]


class _Prober:
    """A throw-away workspace, and the things on the host that no program may reach."""

    def __init__(self, *, hardened: bool) -> None:
        self._hardened = hardened
        self._resources = ExitStack()
        self._root = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="autoscorer-")))
        self._runs = 0

    def __enter__(self) -> _Prober:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def attack_from_inside(self) -> list[Probe]:
        folder = self._workspace()
        self._write_facts(folder)
        script = Path(__file__).with_name("probe_program.py")
        shutil.copyfile(script, folder / "input" / script.name)
        ended = self._run(folder, ("python", f"input/{script.name}"))
        findings_path = folder / "out" / "findings.json"
        if not findings_path.exists():
            reason = ended.stderr_tail.splitlines()[-1:] or ["it ended without findings"]
            raise AutoscorerError("RESOURCE_UNAVAILABLE", f"The probing program failed: {reason[0]}")
        findings = json.loads(findings_path.read_bytes())
        return [_probe(name, "; ".join(findings[check])) for check, name in _CHECKED_INSIDE.items()]

    def memory_limit(self) -> Probe:
        ended = self._run(self._workspace(), _python(_HOG_MEMORY), Caps(memory_bytes=MEMORY_BYTES))
        return _probe("memory limit", "used four times its limit" if ended.exit_code == 0 else "")

    def process_limit(self) -> Probe:
        folder = self._workspace()
        self._run(folder, _python(_FORK_MANY), Caps(tasks=TASKS))
        made = int((folder / "out" / "made").read_text())
        # Where a resource limit has to do, it leaves room for what else our user may start.
        return _probe("process limit", f"made {made} processes" if made >= 2 * TASKS else "")

    def cpu_limit(self) -> Probe:
        ended = self._run(self._workspace(), _python(_BURN_CPU), Caps(cpu_cores=CPU_CORES))
        free = ended.duration_s < 2 * CPU_BURN_S
        return _probe("cpu limit", "computed at full speed" if free else "")

    def output_limit(self) -> Probe:
        folder = self._workspace()
        watch = OutputWatch(folder / "out", max_bytes=OUTPUT_BYTES, max_entries=100)
        ended = self._run(folder, _python(_WRITE_MUCH), check=lambda: watch.exceeded() is not None)
        return _probe(properties.OUTPUT, "" if ended.stopped == "check" else "wrote on")

    def daemons(self) -> Probe:
        folder = self._workspace()
        self._run(folder, _python(_LEAVE_DAEMON))
        lock = os.open(folder / "out" / "lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _probe(properties.WHOLE_TREE, "a daemon outlived its program")
        finally:
            os.close(lock)
        return _probe(properties.WHOLE_TREE, "")

    def time_limit(self) -> Probe:
        started = time.monotonic()
        self._run(self._workspace(), _python(_NEVER_END), time_limit_s=0.5)
        late = time.monotonic() - started > TIME_LIMIT_S
        return _probe(properties.TIME, "ran on" if late else "")

    def _workspace(self) -> Path:
        self._runs += 1
        folder = self._root / str(self._runs)
        for name in ("input", "out", "home", "reference"):
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
        }
        (folder / "input" / "facts.json").write_text(json.dumps(facts))

    def _run(
        self,
        folder: Path,
        program: tuple[str, ...],
        caps: Caps | None = None,
        *,
        check: Callable[[], bool] = lambda: False,
        time_limit_s: float = TIME_LIMIT_S,
    ) -> Ended[str]:
        view = View(
            input_dir=folder / "input",
            out_dir=folder / "out",
            spec_path=folder / "meta.json",
            home_dir=folder / "home",
            tmp_bytes=2**20,
            shm_bytes=2**20,
            hidden=(folder,),
        )
        with ExitStack() as resources:
            if self._hardened:
                sandbox = Sandbox(view, program)
                resources.callback(sandbox.close)
                command = sandbox.command
            else:
                command = plain_command(view, program)
            running = Confined(command, caps or Caps(), log_path=folder / "log", log_bytes=2**16)
            resources.callback(running.close)
            deadline = running.started_at + time_limit_s
            return running.wait(
                [
                    lambda: "time" if time.monotonic() >= deadline else None,
                    lambda: "memory" if running.memory.over_cap() else None,
                    lambda: "check" if check() else None,
                ]
            )


def _python(source: str) -> tuple[str, ...]:
    return ("python", "-c", source)


def _probe(name: str, broken_by: str) -> Probe:
    return Probe(name=name, enforced=not broken_by, detail=broken_by or f"tried {_TRIED[name]}")
