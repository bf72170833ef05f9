"""A backend whose program is a word in the job's command: for tests of what is around a run."""

from __future__ import annotations

import time
from pathlib import Path

from autoscorer.executor.base import (
    AttemptPlan,
    Executor,
    Isolation,
    OnEvent,
    RunOutcome,
    StopReason,
    StopSignal,
)
from autoscorer.utils.artifacts import create_fresh
from autoscorer.utils.errors import AutoscorerError

GOOD = "id,label\n1,cat\n2,dog\n"
PATIENCE_S = 120.0


class StubExecutor(Executor):
    """Commands: ``good`` writes predictions, ``wait`` does when the file `release` is there, ``exit`` fails,
    ``lost`` loses its engine, ``bug`` is one of ours, ``full`` finds the disk full.

    Each start appends the attempt's number to `starts` in the workspace.
    """

    name = "stub"

    def prepare(self, plan: AttemptPlan, *, stop: StopSignal, on_event: OnEvent) -> None:
        with (plan.spec_path.parent / "starts").open("a") as file:
            file.write(f"{plan.attempt_id} {plan.lease}\n")

    def launch(self, plan: AttemptPlan, *, on_event: OnEvent) -> None:
        on_event("execution_started", {"backend": self.name})
        create_fresh(plan.logs_dir / "container.log").close()
        self._print(plan, f"begun {plan.command[0]}\n")

    def _print(self, plan: AttemptPlan, text: str) -> None:
        with (plan.logs_dir / "container.log").open("a", encoding="utf-8") as log:
            log.write(text)

    def wait(self, plan: AttemptPlan, *, stop: StopSignal) -> RunOutcome:
        word = plan.command[0]
        if word == "bug":
            raise ZeroDivisionError("ours")
        if word == "full":
            raise OSError(28, "No space left on device")
        if word == "lost":
            raise AutoscorerError("CONTAINER_WAIT_FAILED", "the engine is gone")
        stopped = _waited(plan.spec_path.parent / "release", stop) if word == "wait" else stop()
        self._print(plan, f"ended {stopped or 'by itself'}\n")
        if stopped is None and word != "exit":
            (plan.out_dir / "pred.csv").write_text(GOOD)
        return RunOutcome(
            exit_code=3 if word == "exit" else 0,
            signal=None,
            stopped=stopped,
            duration_s=0.0,
            peak_memory_bytes=None,
            cpu_seconds=None,
            stderr_tail="",
            log_bytes_dropped=0,
            isolation=Isolation(backend=self.name, mode="none"),
        )

    def clean_up(self, plan: AttemptPlan) -> None:
        return None


def _waited(release: Path, stop: StopSignal) -> StopReason | None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not release.exists():
        if (reason := stop()) is not None:
            return reason
        assert time.monotonic() < give_up_at, "nobody released or stopped the program"
        time.sleep(0.01)
    return None


def starts(workspace: Path) -> list[str]:
    """Which attempts were started in a workspace: one line each."""
    path = workspace / "starts"
    return path.read_text().splitlines() if path.exists() else []
