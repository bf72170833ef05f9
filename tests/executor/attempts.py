"""Attempts for the tests of executors: a plan, a run, and proof that nothing is left of it."""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoscorer.executor.base import AttemptPlan, Limits, RunOutcome, StopReason
from autoscorer.executor.failures import verdict
from autoscorer.executor.local_executor import IsolationMode, LocalExecutor
from autoscorer.utils.errors import AutoscorerError

MIB = 2**20


def limits(**changes: Any) -> Limits:
    values: dict[str, Any] = {
        "cpu_cores": 2,
        "memory_bytes": 256 * MIB,
        "gpus": 0,
        "shm_bytes": MIB,
        "time_limit_s": 60,  # a busy machine is slow; what is about the limit says its own
        "output_bytes": 10 * MIB,
        "log_bytes": MIB,
    }
    return Limits(**values | changes)


def make_plan(
    root: Path, command: tuple[str, ...], *, env: Mapping[str, str] | None = None, **changes: Any
) -> AttemptPlan:
    """A workspace at ``root`` with one input file and a hidden truth, and an attempt on it."""
    for name in ("input", "reference", ".attempts/1"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "input" / "data.csv").write_text("id\n1\n")
    (root / "meta.json").write_text("{}")
    return AttemptPlan(
        job_id="job",
        attempt_id=uuid.uuid4().hex,
        image="python:3.11-slim",
        command=command,
        env=env or {},
        limits=limits(**changes),
        input_dir=root / "input",
        spec_path=root / "meta.json",
        attempt_dir=root / ".attempts" / "1",
        logs_dir=root / "logs",
    )


@dataclass
class Ran:
    """One attempt that is over."""

    plan: AttemptPlan
    outcome: RunOutcome
    error: AutoscorerError | None
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    @property
    def code(self) -> str | None:
        return self.error.code if self.error else None

    @property
    def log(self) -> bytes:
        return (self.plan.logs_dir / "container.log").read_bytes()


def run(
    plan: AttemptPlan, mode: IsolationMode, *, stop: Callable[[], StopReason | None] = lambda: None
) -> Ran:
    """Run it to its end; fail if it leaves a process, a cgroup or a descriptor, or blames the platform."""
    token = uuid.uuid4().hex
    marked = AttemptPlan(**{**plan.__dict__, "env": {**plan.env, "ATTEMPT_TOKEN": token}})
    fds, events = os.listdir("/proc/self/fd"), []
    outcome = LocalExecutor(mode).run(marked, stop=stop, on_event=lambda *event: events.append(event))
    assert os.listdir("/proc/self/fd") == fds
    assert processes_with(token) == []
    assert cgroups_of(os.getpid()) == []
    error = verdict(outcome, plan.limits)
    assert error is None or error.blame in ("participant", "nobody")
    return Ran(plan, outcome, error, events)


def python(source: str) -> tuple[str, ...]:
    return ("python", "-c", source)


def processes_with(token: str) -> list[int]:
    """Living processes that have ``token`` in their environment."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if token.encode() in Path("/proc", name, "environ").read_bytes():
                found.append(int(name))
        except OSError:
            continue
    return found


def cgroups_of(pid: int) -> list[Path]:
    # Not rglob: it stumbles over groups that other tests take away while it looks.
    folders = (Path(folder) for folder, _, _ in os.walk("/sys/fs/cgroup"))
    return [folder for folder in folders if re.fullmatch(rf"autoscorer-n\d+-{pid}-\d+", folder.name)]


def eventually(holds: Callable[[], bool], *, within_s: float = 30) -> bool:
    """Wait on a condition, not on the clock."""
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while time.monotonic() < deadline:
        if holds():
            return True
        pause.wait(0.005)
    return holds()
