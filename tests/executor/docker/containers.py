"""Attempts in containers for tests: a plan, a run on the test bed's engine, proof that nothing is left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoscorer.executor.base import AttemptPlan, RunOutcome, StopReason
from autoscorer.executor.docker_executor import DockerExecutor
from autoscorer.executor.failures import verdict
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.config import Config, Settings
from autoscorer.utils.errors import AutoscorerError
from tests.executor.attempts import eventually, make_plan

MIB = 2**20
BUSYBOX = "autoscorer-test/busybox:1"


def settings(root: Path, **changes: Any) -> Settings:
    """Settings that look at nothing outside ``root`` but the engine."""
    return replace(Config(root / "no.yaml", environ={}).settings, data_dir=root / "data", **changes)


def container_plan(
    root: Path, script: str, *, image: str = BUSYBOX, env: Mapping[str, str] | None = None, **changes: Any
) -> AttemptPlan:
    """An attempt that runs ``script`` in busybox's shell."""
    command = ("sh", "-c", script) if script else ()
    network = changes.pop("network", "none")
    return replace(make_plan(root, command, env=env, **changes), image=image, network=network)


@dataclass
class RanInContainer:
    """One attempt that is over; ``output`` is a copy of what it wrote, taken before clean-up."""

    plan: AttemptPlan
    outcome: RunOutcome
    error: AutoscorerError | None
    output: Path
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    @property
    def code(self) -> str | None:
        return self.error.code if self.error else None

    @property
    def log(self) -> bytes:
        return (self.plan.logs_dir / "container.log").read_bytes()

    def text(self, name: str) -> str:
        return (self.output / name).read_text()


def run_container(
    plan: AttemptPlan,
    *,
    stop: Callable[[], StopReason | None] = lambda: None,
    executor: DockerExecutor | None = None,
    **changes: Any,
) -> RanInContainer:
    """Run it to its end; fail if it leaves a container, a mount, a loop device, a file or a descriptor."""
    root = plan.spec_path.parent
    copy = root / "collected"
    fds = os.listdir("/proc/self/fd")
    events: list[tuple[str, Mapping[str, Any]]] = []

    def collect(folder: Path, _outcome: RunOutcome) -> None:
        remove_tree(copy)
        # By name and not by tree: what a container wrote may be a trap.
        copy.mkdir()
        for entry in folder.iterdir():
            if entry.is_file() and not entry.is_symlink() and entry.stat().st_size < 2**20:
                (copy / entry.name).write_bytes(entry.read_bytes())

    used = executor or DockerExecutor(settings(root, **changes))
    outcome = used.run(plan, stop=stop, on_event=lambda *event: events.append(event), collect=collect)
    assert_nothing_left(root)
    assert os.listdir("/proc/self/fd") == fds
    error = verdict(outcome, plan.limits)
    return RanInContainer(plan, outcome, error, copy, events)


def assert_nothing_left(root: Path) -> None:
    """Nothing of the attempts below ``root``: container, volume, mount, loop device, journal, file."""
    assert containers_of(root) == []
    assert volumes_of(root) == []
    assert mounts_below(root) == []
    # The kernel frees it when the last mount namespace that was made meanwhile has let go.
    assert eventually(lambda: loops_below(root) == [])
    journal = root / "data" / "attempts"
    assert not journal.exists() or list(journal.iterdir()) == []
    for attempt in (root / ".attempts").glob("*"):
        left = [entry.name for entry in attempt.iterdir() if entry.name != "out" or any(entry.iterdir())]
        assert left == []


def containers_of(root: Path) -> list[str]:
    return docker("ps", "-a", "-q", "--filter", f"label=autoscorer.folder={root / '.attempts' / '1'}").split()


def volumes_of(root: Path) -> list[str]:
    label = f"label=autoscorer.folder={root / '.attempts' / '1'}"
    return docker("volume", "ls", "-q", "--filter", label).split()


def mounts_below(root: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(str(root))]


def loops_below(root: Path) -> list[str]:
    found = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=False).stdout
    return [line for line in found.splitlines() if str(root) in line]


def docker(*arguments: str, check: bool = True) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=check).stdout.strip()
