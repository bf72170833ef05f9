"""One scorer's process as the parent sees it: born of the zygote, watched, ended, what it said kept."""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from autoscorer.confine.caps import Caps, rlimits, tasks_in_use
from autoscorer.confine.cgroups import Cgroup, Home
from autoscorer.confine.logs import STDERR_TAIL_BYTES, Tail, readable_tail
from autoscorer.confine.memory import MemoryMeter
from autoscorer.confine.spawn import DRAIN_BYTES, enforced_caps
from autoscorer.scorers.child.frames import Inbox
from autoscorer.scorers.child.nursery import Nursery
from autoscorer.scorers.child.places import Places
from autoscorer.utils import turns

TICK_S = 0.05
LAST_WORDS = ("ended", "failed")
LAST_WORDS_S = 0.5  # for the process to end by itself once it has answered
KEEPER_GRACE_S = 15.0  # longer than it may take to kill the tree
BUFFER_BYTES = 2**18
STATUS_BYTES = 2**16


class Stop(StrEnum):
    """Why the parent ended it."""

    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    CLOSED = "closed"
    ANSWERED = "answered"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How it ended. ``lost``: keeper or zygote were killed; ``failure``: it could not be set up."""

    answer: bytes | None
    broken_answer: bool
    failure: str | None
    lost: bool
    stopped: Stop | None
    exit_code: int | None
    signal: int | None
    oom_kills: int
    seconds: float
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    output_tail: str
    walls: Mapping[str, Any] = field(default_factory=dict)
    caps_enforced: Mapping[str, str] = field(default_factory=dict)


class Birth:
    """A scorer's process and everything that hangs on it. Close it always; closing kills the tree."""

    def __init__(
        self,
        nursery: Nursery,
        request: Mapping[str, Any],
        caps: Caps,
        *,
        pinned: Sequence[int],
        homes: Sequence[Home],
    ) -> None:
        """Have it forked. ``homes`` is where a cgroup may be made; ``pinned`` files go with it."""
        self._resources = ExitStack()
        try:
            self._group = Cgroup.create(caps, list(homes))
            self._resources.callback(self._group.remove)
            self._caps = caps
            self._status = b""
            self._inbox = Inbox()
            self._output = Tail(STDERR_TAIL_BYTES)
            self._buffer = bytearray(BUFFER_BYTES)
            self.places, self._places_end = self._make_places()
            self._memory = self._meter(None) if "memory" in self._group.enforced else None
            self._selector = self._resources.enter_context(selectors.DefaultSelector())
            self._started_at = time.monotonic()
            self._control = self._fork(nursery, {**request, "keeper": self._keeper_config(caps)}, pinned)
        except BaseException:  # clean-up: whatever stopped the start, what was opened is closed
            self._resources.close()
            raise

    def wait(self, *, deadline: float, checks: Sequence[Callable[[], Stop | None]] = ()) -> Ended:
        """Until it has ended and nothing of it is left. ``deadline`` is on the monotonic clock."""
        with turns.jobs.aside():
            return self._wait(deadline, checks)

    def _wait(self, deadline: float, checks: Sequence[Callable[[], Stop | None]]) -> Ended:
        stopped: Stop | None = None
        give_up_at = next_check_at = answered_at = None
        while not self._is_over():
            self._pump(TICK_S)
            now = time.monotonic()
            if give_up_at is not None:
                if now >= give_up_at:
                    break
                continue
            if self._inbox.complete:
                answered_at = answered_at or now
            if next_check_at is None or now >= next_check_at:
                next_check_at = now + TICK_S
                stopped = self._reason(now, deadline, answered_at, checks)
                if stopped is not None:
                    self._kill()
                    give_up_at = now + KEEPER_GRACE_S
        return self._ended(stopped)

    def close(self) -> None:
        """Kill what still runs, remove the cgroup, close every descriptor. Safe to call twice."""
        self._resources.close()

    def _reason(
        self,
        now: float,
        deadline: float,
        answered_at: float | None,
        checks: Sequence[Callable[[], Stop | None]],
    ) -> Stop | None:
        if answered_at is not None and now >= answered_at + LAST_WORDS_S:
            return Stop.ANSWERED
        if now >= deadline:
            return Stop.TIME_LIMIT
        if self._memory is not None and self._memory.over_cap():
            return Stop.MEMORY_LIMIT
        return next((found for check in checks if (found := check()) is not None), None)

    def _make_places(self) -> tuple[Places, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        places = Places(ours)
        self._resources.callback(places.close)
        self._resources.callback(theirs.close)
        return places, theirs

    def _keeper_config(self, caps: Caps) -> dict[str, Any]:
        need_rlimit = caps.tasks is not None and "pids" not in self._group.enforced
        groups = self._group.directories
        return {
            "rlimits": rlimits(caps, tasks_in_use=tasks_in_use() if need_rlimit else None),
            "cgroup_procs": [str(directory / "cgroup.procs") for directory in groups],
            "is_memory_counted": "memory" in self._group.enforced,
            "cgroup_dirs": [str(directory) for directory in groups],
        }

    def _fork(self, nursery: Nursery, request: Mapping[str, Any], pinned: Sequence[int]) -> int:
        """Have the zygote fork; our end of the leash."""
        with ExitStack() as theirs:
            memory_file = os.memfd_create("scorer-request")
            theirs.callback(os.close, memory_file)
            os.write(memory_file, json.dumps(request).encode())
            os.lseek(memory_file, 0, os.SEEK_SET)
            status, *told = [self._pipe(theirs, name) for name in ("status", "stdout", "stderr", "answer")]
            places = theirs.enter_context(self._places_end)
            control_read, control = os.pipe()
            theirs.callback(os.close, control_read)
            self._resources.callback(self._end_keeper)
            self._resources.callback(os.close, control)  # end of file on the leash comes first
            # In the order of `child.cradle`.
            score = [memory_file, control_read, status, places.fileno(), *told, *pinned]
            nursery.fork(score, is_counted="memory" in self._group.enforced)
        return control

    def _pipe(self, theirs: ExitStack, name: str) -> int:
        """A pipe whose reading end we watch under ``name``; the writing end."""
        reading, writing = os.pipe()
        theirs.callback(os.close, writing)
        self._resources.callback(os.close, reading)
        os.set_blocking(reading, False)
        self._selector.register(reading, selectors.EVENT_READ, name)
        return writing

    def _open(self, name: str) -> bool:
        return any(key.data == name for key in self._selector.get_map().values())

    def _is_over(self) -> bool:
        """Whether we were told how it ended, or nobody is left to tell. Another's fork may hold the pipe."""
        return not self._open("status") or any(self._word(name) is not None for name in LAST_WORDS)

    def _meter(self, keeper: int | None) -> MemoryMeter:
        cap = self._caps.memory_bytes
        return MemoryMeter(keeper, self._group, cap_bytes=cap, beside=self.places.held_bytes)

    def _pump(self, timeout_s: float) -> int:
        """Move what is there from the pipes to where it belongs; how many bytes."""
        moved = 0
        for key, _ in self._selector.select(timeout_s):
            with suppress(BlockingIOError):
                count = os.readv(key.fd, [self._buffer])
                moved += count
                if count == 0:
                    self._selector.unregister(key.fd)
                else:
                    self._keep(key.data, memoryview(self._buffer)[:count])
        return moved

    def _keep(self, name: str, chunk: memoryview) -> None:
        if name == "answer":
            self._inbox.write(chunk)
        elif name == "status":
            self._status = (self._status + chunk)[:STATUS_BYTES]
            if self._memory is None and (pid := self._keeper_pid()) is not None:
                self._memory = self._meter(pid)
        else:
            self._output.write(chunk)

    def _keeper_pid(self) -> int | None:
        words = self._word("keeper")
        return None if words is None else int(words)

    def _word(self, name: str) -> str | None:
        """What the keeper said after ``name``; only whole lines count."""
        for line in self._status.decode(errors="replace").split("\n")[:-1]:
            if line.startswith(f"{name} "):
                return line.removeprefix(f"{name} ")
        return None

    def _kill(self) -> None:
        with suppress(BrokenPipeError):
            os.write(self._control, b"K")

    def _ended(self, stopped: Stop | None) -> Ended:
        seconds = time.monotonic() - self._started_at
        drained = 0
        while self._selector.get_map() and drained < DRAIN_BYTES and (moved := self._pump(0)):
            drained += moved
        told, failure = self._word("ended"), self._word("failed")
        lost = told is None and failure is None
        if lost:
            self._kill_leftovers()
        exit_code, signal, cpu_s, rss = (told or "- - - -").split()
        counted = self._group.cpu_seconds()
        peaks = [self._memory.peak_bytes if self._memory else None, _number(rss)]
        return Ended(
            answer=self._inbox.content(),
            broken_answer=self._inbox.broken,
            failure=failure,
            lost=lost,
            stopped=stopped,
            exit_code=_number(exit_code),
            signal=_number(signal),
            oom_kills=self._group.oom_kills(),
            seconds=seconds,
            cpu_seconds=counted if counted is not None or cpu_s == "-" else float(cpu_s),
            peak_memory_bytes=max((peak for peak in peaks if peak is not None), default=None),
            output_tail=readable_tail(self._output.content()),
            walls=json.loads(self._word("walls") or "{}"),
            caps_enforced=enforced_caps(self._caps, self._group),
        )

    def _end_keeper(self) -> None:
        """The leash is let go: wait until the keeper, or the zygote, has told how it ended."""
        deadline = time.monotonic() + KEEPER_GRACE_S
        while not self._is_over() and time.monotonic() < deadline:
            self._pump(TICK_S)
        if not self._is_over():
            self._kill_leftovers()

    def _kill_leftovers(self) -> None:
        if self._memory is not None:
            self._memory.kill_known()
        for pid in self._group.members():
            with suppress(ProcessLookupError):
                os.kill(pid, 9)


def _number(text: str) -> int | None:
    return None if text == "-" else int(text)
