"""What every backend is: one template of steps, one plan in, one outcome out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from autoscorer.executor.ownership import Owner
from autoscorer.harvest import Harvest, HarvestPolicy, harvest


class StopReason(StrEnum):
    """Why we ended a program before it ended by itself."""

    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    CANCELLED = "cancelled"
    WORKER_STOPPED = "worker_stopped"
    LEASE_LOST = "lease_lost"


LEFT_RUNNING = "left_running"
"""In an outcome's details, and in its error's: the program runs on, for the task's next attempt."""
StopSignal = Callable[[], StopReason | None]
OnEvent = Callable[[str, Mapping[str, Any]], None]
IsAlive = Callable[[Owner], bool]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one attempt may use."""

    cpu_cores: float
    memory_bytes: int
    gpus: int
    shm_bytes: int
    time_limit_s: float
    output_bytes: int
    output_entries: int = 10_000
    processes: int = 512
    log_bytes: int = 10 * 2**20


@dataclass(frozen=True, kw_only=True)
class AttemptPlan:
    """All a backend needs to run one attempt.

    ``attempt_dir`` is ours alone; the program writes into ``attempt_dir/out``. ``input_dir`` and
    ``spec_path`` are shown to it read-only. ``logs_dir`` gets container.log and is not shown to it.
    ``network`` is ``none`` or the name of a network the operator allows.
    ``lease`` is the right under which it runs, empty for a run by hand.
    ``hidden`` are real paths it must not see wherever they lie: the truth, other workspaces.
    """

    job_id: str
    attempt_id: str
    image: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    limits: Limits
    input_dir: Path
    spec_path: Path
    attempt_dir: Path
    logs_dir: Path
    network: str = "none"
    lease: str = ""
    hidden: tuple[Path, ...] = ()

    @property
    def out_dir(self) -> Path:
        return self.attempt_dir / "out"


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """What kept the program apart, said honestly: ``not_enforced`` names every property that did not."""

    backend: str
    mode: str
    enforced: tuple[str, ...] = ()
    not_enforced: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """How a program ended. ``exit_code`` is None when a signal ended it; sizes in bytes, times in seconds."""

    exit_code: int | None
    signal: int | None
    stopped: StopReason | None
    duration_s: float
    peak_memory_bytes: int | None
    cpu_seconds: float | None
    stderr_tail: str
    log_bytes_dropped: int
    isolation: Isolation
    details: Mapping[str, Any] = field(default_factory=dict)


Collect = Callable[[Path, RunOutcome], None]


def leave_output(_folder: Path, _outcome: RunOutcome) -> None:
    """A `Collect` for who wants nothing of it."""
    return


@dataclass(frozen=True, kw_only=True)
class Reaped:
    """One thing that a killed run had left, removed now. ``kind``: container, mount, folder."""

    kind: str
    name: str


class Executor(ABC):
    """A backend. Subclasses act; what they decide, pure functions decide for them."""

    name: str
    adopts = False  # whether a task's next attempt takes up what one left running that was killed or stopped

    def run(
        self,
        plan: AttemptPlan,
        *,
        stop: StopSignal,
        on_event: OnEvent,
        collect: Collect = leave_output,
    ) -> RunOutcome:
        """Run one attempt to its end and leave nothing of it running, but what another takes up.

        A backend that ``adopts`` leaves the program to the task's next attempt when the worker stops or has
        lost its lease, and says so (`LEFT_RUNNING`).

        ``stop`` is asked several times a second; a reason ends the program. ``collect`` gets the folder
        the program wrote into and how it ended, when nothing of it runs any more and before clean-up:
        the folder may lie on a file system that clean-up takes away. Raises AutoscorerError
        (RESOURCE_UNAVAILABLE, EXEC_ERROR, …) when the backend itself fails; a program's failure is
        an outcome, judged by `failures.verdict`.
        """
        self.prepare(plan, stop=stop, on_event=on_event)
        try:
            self.stage_in(plan)
            self.launch(plan, on_event=on_event)
            outcome = self.wait(plan, stop=stop)
            collect(self.output_dir(plan), outcome)
            return outcome
        finally:
            self.clean_up(plan)

    def output_dir(self, plan: AttemptPlan) -> Path:
        """Where the program wrote; valid from `stage_in` to `clean_up`."""
        return plan.out_dir

    def take_output(self, plan: AttemptPlan, target: Path, policy: HarvestPolicy) -> Harvest:
        """Harvest what the program wrote into the new folder ``target``; valid while `collect` runs.

        Raises AutoscorerError as `harvest.harvest` does.
        """
        return harvest(self.output_dir(plan), target, policy)

    def reap(self, is_alive: IsAlive) -> tuple[Reaped, ...]:
        """Remove what runs left whose owner is not alive, and nothing else. Safe to call at any time."""
        return ()

    def prepare(  # noqa: B027 - a step a backend may not need
        self, plan: AttemptPlan, *, stop: StopSignal, on_event: OnEvent
    ) -> None:
        """Check that this backend can run the plan at all, and fetch what that takes (an image)."""

    def stage_in(self, plan: AttemptPlan) -> None:
        """Make the folders the program will see."""
        plan.out_dir.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def launch(self, plan: AttemptPlan, *, on_event: OnEvent) -> None:
        """Start the program."""

    @abstractmethod
    def wait(self, plan: AttemptPlan, *, stop: StopSignal) -> RunOutcome:
        """Wait for its end or ours, and say how it ended."""

    @abstractmethod
    def clean_up(self, plan: AttemptPlan) -> None:
        """Leave nothing running or mounted. Called always; safe to call twice."""
