"""The local backend: the workspace contract on this machine without a container engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from autoscorer.confine.bubblewrap import Sandbox, usable_bubblewrap
from autoscorer.confine.caps import Caps
from autoscorer.confine.plain import plain_command
from autoscorer.confine.probes import Diagnosis
from autoscorer.confine.properties import describe
from autoscorer.confine.spawn import Confined, Ended
from autoscorer.confine.view import View
from autoscorer.confine.watch import OutputWatch, Written
from autoscorer.executor.base import (
    AttemptPlan,
    Executor,
    IsAlive,
    Isolation,
    Limits,
    OnEvent,
    Reaped,
    RunOutcome,
    StopReason,
    StopSignal,
)
from autoscorer.executor.commands import check_command
from autoscorer.executor.ownership import Owner
from autoscorer.executor.programs import Programs
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError

IsolationMode = Literal["hardened", "trusted"]
FILE_SLACK_BYTES = 2**20  # one file may just pass the output limit, so that the watch can name it


class _Attempt:
    """What `launch` leaves for `wait` and `clean_up`."""

    def __init__(self) -> None:
        self.resources = ExitStack()
        self.sandbox: Sandbox | None = None
        self.program: Confined


class LocalExecutor(Executor):
    """``hardened`` runs in bubblewrap and never falls back; ``trusted`` is a plain subprocess."""

    name = "local"

    def __init__(self, isolation: IsolationMode = "hardened", programs: Programs | None = None) -> None:
        """``programs`` is where those under a lease are noted."""
        self._isolation = isolation
        self._programs = programs
        self._attempts: dict[Path, _Attempt] = {}

    def prepare(self, plan: AttemptPlan, *, stop: StopSignal, on_event: OnEvent) -> None:
        if plan.limits.gpus > 0:
            raise AutoscorerError(
                "RESOURCE_UNAVAILABLE",
                "The local backend cannot allot GPUs.",
                {"expected": "resources.gpus: 0", "offenders": [f"resources.gpus: {plan.limits.gpus}"]},
            )
        check_command(plan, may_be_empty=False)
        if self._isolation == "hardened":
            usable_bubblewrap()

    def stage_in(self, plan: AttemptPlan) -> None:
        super().stage_in(plan)
        # The program may leave a setuid file of ours; nobody else is to reach it.
        plan.attempt_dir.chmod(0o700)
        plan.logs_dir.mkdir(parents=True, exist_ok=True)

    def launch(self, plan: AttemptPlan, *, on_event: OnEvent) -> None:
        attempt = self._attempts[plan.attempt_dir] = _Attempt()
        view, caps = _view(plan), _caps(plan.limits)
        if self._isolation == "hardened":
            attempt.sandbox = Sandbox(view, plan.command)
            attempt.resources.callback(attempt.sandbox.close)
            command = attempt.sandbox.command
        else:
            command = plain_command(view, plan.command)
        attempt.program = Confined(
            command, caps, log_path=plan.logs_dir / "container.log", log_bytes=plan.limits.log_bytes
        )
        attempt.resources.callback(attempt.program.close)
        if self._programs is not None and plan.lease:
            noted = self._programs.note(attempt.program.supervisor_pid, Owner.this_process(plan.lease))
            attempt.resources.callback(self._programs.cross_out, noted)
        on_event(
            "execution_started",
            {"backend": self.name, "mode": self._isolation, "image": plan.image, "image_used": False},
        )

    def wait(self, plan: AttemptPlan, *, stop: StopSignal) -> RunOutcome:
        attempt = self._attempts[plan.attempt_dir]
        program, limits = attempt.program, plan.limits
        watch = OutputWatch(plan.out_dir, max_bytes=limits.output_bytes, max_entries=limits.output_entries)
        deadline = program.started_at + limits.time_limit_s
        checks: list[Callable[[], StopReason | None]] = [
            stop,
            lambda: StopReason.TIME_LIMIT if time.monotonic() >= deadline else None,
            lambda: StopReason.MEMORY_LIMIT if program.memory.over_cap() else None,
            lambda: StopReason.OUTPUT_LIMIT if watch.exceeded() else None,
        ]
        # A program that eats memory or disk would use a grace to eat more.
        ended = program.wait(checks, at_once=(StopReason.MEMORY_LIMIT, StopReason.OUTPUT_LIMIT))
        if attempt.sandbox is not None and _never_ran(attempt.sandbox, ended):
            raise AutoscorerError(
                "EXEC_ERROR", "The sandbox could not be set up.", {"reason": ended.stderr_tail}
            )
        return _outcome(ended, written=watch.exceeded(now=True), isolation=self._report(attempt))

    def clean_up(self, plan: AttemptPlan) -> None:
        attempt = self._attempts.pop(plan.attempt_dir, None)
        if attempt is not None:
            attempt.resources.close()

    def reap(self, is_alive: IsAlive) -> tuple[Reaped, ...]:
        return tuple(self._programs.end(is_alive)) if self._programs is not None else ()

    def _report(self, attempt: _Attempt) -> Isolation:
        filters_calls = attempt.sandbox is not None and attempt.sandbox.filters_calls
        enforced, not_enforced = describe(
            hardened=attempt.sandbox is not None,
            filters_calls=filters_calls,
            caps_enforced=attempt.program.caps_enforced,
        )
        return Isolation(
            backend=self.name, mode=self._isolation, enforced=enforced, not_enforced=not_enforced
        )


def _outcome(ended: Ended[StopReason], *, written: Written | None, isolation: Isolation) -> RunOutcome:
    """What was written last counts too: a program that ends between two looks is not let off."""
    stopped = ended.stopped
    if stopped is None and written is not None:
        stopped = StopReason.OUTPUT_LIMIT
    details: dict[str, Any] = {"image_used": False, "oom_kills": ended.oom_kills}
    if written is not None:
        details["output"] = {"bytes": written.size_bytes, "entries": written.entries, "depth": written.depth}
    if ended.lost:
        details["supervisor_lost"] = True
    return RunOutcome(
        exit_code=ended.exit_code,
        signal=ended.signal,
        stopped=stopped,
        duration_s=ended.duration_s,
        peak_memory_bytes=ended.peak_memory_bytes,
        cpu_seconds=ended.cpu_seconds,
        stderr_tail=ended.stderr_tail,
        log_bytes_dropped=ended.log_bytes_dropped,
        isolation=isolation,
        details=details,
    )


def _never_ran(sandbox: Sandbox, ended: Ended[StopReason]) -> bool:
    """bubblewrap itself gave up. Not when it was stopped or killed: a program out of memory can bring
    that about, and what a program can bring about is not our failure."""
    killed = ended.exit_code is None or ended.oom_kills > 0 or ended.stopped is not None
    return not killed and not sandbox.was_entered()


def _view(plan: AttemptPlan) -> View:
    return View(
        input_dir=plan.input_dir,
        out_dir=plan.out_dir,
        spec_path=plan.spec_path,
        home_dir=plan.attempt_dir,
        tmp_bytes=_tmp_bytes(plan.limits),
        shm_bytes=plan.limits.shm_bytes,
        hidden=(
            plan.spec_path.parent.resolve(),
            plan.attempt_dir.resolve(),
            plan.logs_dir.resolve(),
            *(path for path in plan.hidden if path.exists()),
        ),
        env=plan.env,
    )


def _tmp_bytes(limits: Limits) -> int:
    return max(2**20, limits.memory_bytes // 2)  # /tmp is memory; half of it, as tmpfs has it by default


def _caps(limits: Limits) -> Caps:
    return Caps(
        memory_bytes=limits.memory_bytes,
        tasks=limits.processes,
        cpu_cores=limits.cpu_cores,
        file_bytes=max(limits.output_bytes, _tmp_bytes(limits)) + FILE_SLACK_BYTES,
    )


def make_executor(settings: Settings, isolation: IsolationMode) -> Executor:
    """This backend, as the composition root makes it."""
    return LocalExecutor(isolation, Programs(settings.data_dir))


def missing(settings: Settings) -> str | None:
    """Why nothing can run here now, and what to do; None if it can."""
    try:
        usable_bubblewrap()
    except AutoscorerError as exc:
        return exc.message
    return None


def diagnose(settings: Settings) -> Diagnosis:
    """What the sandbox enforces on this machine."""
    from autoscorer.confine.properties import UNENFORCED
    from autoscorer.confine.sandbox_probes import probe_isolation

    return Diagnosis(backend="local", probes=tuple(probe_isolation()), never_enforced=UNENFORCED)
