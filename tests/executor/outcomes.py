"""How a program ended, for executors that run none."""

from __future__ import annotations

from autoscorer.executor.base import Isolation, RunOutcome


def ended_well(*, backend: str, mode: str) -> RunOutcome:
    """Exit code 0 after a tenth of a second, and nothing else to tell."""
    return RunOutcome(
        exit_code=0,
        signal=None,
        stopped=None,
        duration_s=0.1,
        peak_memory_bytes=None,
        cpu_seconds=None,
        stderr_tail="",
        log_bytes_dropped=0,
        isolation=Isolation(backend=backend, mode=mode),
    )
