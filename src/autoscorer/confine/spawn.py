"""Start a program under a supervisor, with limits, its output pumped into a bounded log."""

from __future__ import annotations

import fcntl
import marshal
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from autoscorer.confine.caps import Caps, rlimits, tasks_in_use
from autoscorer.confine.cgroups import Cgroup, Home, own_homes
from autoscorer.confine.logs import STDERR_TAIL_BYTES, HeadTailLog, Tail, readable_tail
from autoscorer.confine.memory import MemoryMeter
from autoscorer.utils.errors import AutoscorerError

TERMINATE_GRACE_S = 2.0
SUPERVISOR_GRACE_S = 15.0  # longer than it may take to kill the tree
TICK_S = 0.05
PIPE_BYTES = 2**20
DRAIN_BYTES = 8 * PIPE_BYTES

Reason = TypeVar("Reason")


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to exec. The program gets this environment and these descriptors and no others.

    A ``wrapper`` (bubblewrap) is spared the polite SIGTERM, which is meant for what it runs.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    pass_fds: tuple[int, ...] = ()
    wrapper: bool = False
    no_new_privileges: bool = True


@dataclass(frozen=True, kw_only=True)
class Ended(Generic[Reason]):
    """How it ended. ``lost``: the supervisor was killed, so ``signal`` is SIGKILL and times are ours."""

    exit_code: int | None
    signal: int | None
    stopped: Reason | None
    lost: bool
    duration_s: float
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    oom_kills: int
    stderr_tail: str
    log_bytes_dropped: int


class Confined:
    """A running program and everything that hangs on it. Close it always; closing kills the tree."""

    def __init__(
        self,
        command: Command,
        caps: Caps,
        *,
        log_path: Path,
        log_bytes: int,
        homes: Sequence[Home] | None = None,
    ) -> None:
        """Start it; it runs when this returns. Raises AutoscorerError EXEC_ERROR if it cannot be set up.

        ``homes`` is where a cgroup may be made: by default where this process can.
        """
        self._resources = ExitStack()
        try:
            self.group = Cgroup.create(caps, list(own_homes() if homes is None else homes))
            self._resources.callback(self.group.remove)
            self._log = HeadTailLog(log_path, log_bytes)
            self._resources.callback(self._log.close)
            self.caps_enforced = enforced_caps(caps, self.group)
            self._stderr = Tail(STDERR_TAIL_BYTES)
            self._report = b""
            self._buffer = bytearray(PIPE_BYTES)
            self._selector = self._resources.enter_context(selectors.DefaultSelector())
            self._control = self._launch(command, caps)
            self._await_start()
            self.started_at = time.monotonic()
        except BaseException:  # clean-up: whatever stopped the start, what was opened is closed
            self._resources.close()
            raise

    def wait(
        self, checks: Sequence[Callable[[], Reason | None]], *, at_once: Container[Reason] = ()
    ) -> Ended[Reason]:
        """Until it has ended and nothing of it is left.

        ``checks`` are asked about twenty times a second; the first reason one gives ends the tree,
        by SIGTERM and, `TERMINATE_GRACE_S` later, by SIGKILL; without the grace if it is in ``at_once``.
        """
        stopped: Reason | None = None
        kill_at = give_up_at = float("inf")
        next_check_at = 0.0
        while self._status_open():
            self._pump(TICK_S)
            now = time.monotonic()
            if now < next_check_at:
                continue
            next_check_at = now + TICK_S
            if stopped is None:
                stopped = next((found for check in checks if (found := check()) is not None), None)
                if stopped is not None and stopped not in at_once:
                    self._tell(b"T")
                    kill_at = now + TERMINATE_GRACE_S
                elif stopped is not None:
                    kill_at = now
            elif now >= give_up_at:
                self._supervisor.kill()
            elif now >= kill_at:
                self._tell(b"K")
                kill_at, give_up_at = float("inf"), now + SUPERVISOR_GRACE_S
        return self._ended(stopped)

    @property
    def supervisor_pid(self) -> int:
        """The process with which the whole tree ends."""
        return self._supervisor.pid

    def close(self) -> None:
        """Kill what still runs, remove the cgroup, close every descriptor. Safe to call twice."""
        self._resources.close()

    def _launch(self, command: Command, caps: Caps) -> int:
        """Start the supervisor; the end of its leash."""
        groups = self.group.directories
        need_rlimit = caps.tasks is not None and "pids" not in self.group.enforced
        config = {
            "argv": list(command.argv),
            "env": dict(command.env),
            "cwd": str(command.cwd),
            "pass_fds": list(command.pass_fds),
            "wrapper": command.wrapper,
            "no_new_privileges": command.no_new_privileges,
            "rlimits": rlimits(caps, tasks_in_use=tasks_in_use() if need_rlimit else None),
            "cgroup_procs": [str(directory / "cgroup.procs") for directory in groups],
            "cgroup_dirs": [str(directory) for directory in groups],
        }
        with ExitStack() as theirs:
            config_fd = os.memfd_create("supervisor-config")
            theirs.callback(os.close, config_fd)
            os.pwrite(config_fd, marshal.dumps(config), 0)
            control_read, control_write = os.pipe()
            theirs.callback(os.close, control_read)
            self._resources.callback(os.close, control_write)
            status, out, err = (self._pipe(theirs, name) for name in ("status", "stdout", "stderr"))
            self._supervisor = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("supervisor.py"))),
                    *(str(descriptor) for descriptor in (config_fd, control_read, status)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={},
                cwd="/",
                pass_fds=(config_fd, control_read, status, *command.pass_fds),
                start_new_session=True,  # Ctrl-C is ours to handle
            )
            self.memory = MemoryMeter(self._supervisor.pid, self.group, cap_bytes=caps.memory_bytes)
            self._resources.callback(self._end_supervisor)
        return control_write

    def _pipe(self, theirs: ExitStack, name: str) -> int:
        """A pipe whose reading end we watch under ``name``; the writing end."""
        reading, writing = os.pipe()
        theirs.callback(os.close, writing)
        self._resources.callback(os.close, reading)
        os.set_blocking(reading, False)
        with suppress(OSError):  # a user may have too many pages in pipes; a small pipe is only slower
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._selector.register(reading, selectors.EVENT_READ, name)
        return writing

    def _await_start(self) -> None:
        while b"\n" not in self._report and self._status_open():
            self._pump(TICK_S)
        if not self._report.startswith(b"started "):
            reason = self._report.decode(errors="replace").removeprefix("failed ").strip()
            raise AutoscorerError(
                "EXEC_ERROR",
                "The program could not be set up with its limits.",
                {"reason": reason or readable_tail(self._stderr.content(), lines=1)},
            )

    def _status_open(self) -> bool:
        return any(key.data == "status" for key in self._selector.get_map().values())

    def _pump(self, timeout_s: float) -> int:
        """Move what is there from the pipes to where it belongs; how many bytes."""
        moved = 0
        for key, _ in self._selector.select(timeout_s):
            with suppress(BlockingIOError):
                count = os.readv(key.fd, [self._buffer])
                moved += count
                if count == 0:
                    self._selector.unregister(key.fd)
                elif key.data == "status":
                    self._report += self._buffer[:count]
                else:
                    self._keep(memoryview(self._buffer)[:count], is_stderr=key.data == "stderr")
        return moved

    def _keep(self, chunk: memoryview, *, is_stderr: bool) -> None:
        self._log.write(chunk)
        if is_stderr:
            self._stderr.write(chunk)

    def _tell(self, command: bytes) -> None:
        with suppress(BrokenPipeError):
            os.write(self._control, command)

    def _ended(self, stopped: Reason | None) -> Ended[Reason]:
        duration_s = time.monotonic() - self.started_at
        words = self._report.decode().rpartition("ended ")
        lost = not words[1]
        if lost:
            self._kill_leftovers()
        drained = 0
        while self._selector.get_map() and drained < DRAIN_BYTES and (moved := self._pump(0)):
            drained += moved
        exit_code, signal, cpu_s, rss = ("-", "9", None, None) if lost else words[2].split()
        peaks = [self.memory.peak_bytes, None if rss is None else int(rss)]
        cpu_seconds = self.group.cpu_seconds()
        return Ended(
            exit_code=None if exit_code == "-" else int(exit_code),
            signal=None if signal == "-" else int(signal),
            stopped=stopped,
            lost=lost,
            duration_s=duration_s,
            cpu_seconds=cpu_seconds if cpu_seconds is not None or cpu_s is None else float(cpu_s),
            peak_memory_bytes=max((peak for peak in peaks if peak is not None), default=None),
            oom_kills=self.group.oom_kills(),
            stderr_tail=readable_tail(self._stderr.content()),
            log_bytes_dropped=self._log.close(),
        )

    def _end_supervisor(self) -> None:
        """Let go of the leash's end by asking for the kill, then wait for it."""
        self._tell(b"K")
        try:
            self._supervisor.wait(SUPERVISOR_GRACE_S)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
            self._kill_leftovers()

    def _kill_leftovers(self) -> None:
        self.memory.kill_known()
        for pid in self.group.members():
            with suppress(ProcessLookupError):
                os.kill(pid, 9)


def enforced_caps(caps: Caps, group: Cgroup) -> Mapping[str, str]:
    """Which caps hold, and by what."""
    held = dict.fromkeys(group.enforced, "cgroup")
    if caps.memory_bytes is not None:
        held.setdefault("memory", "polled")
    if caps.tasks is not None and os.getuid() != 0:
        held.setdefault("pids", "rlimit")
    return held
