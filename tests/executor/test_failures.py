"""Whose failure it was, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from autoscorer.executor.base import Isolation, Limits, RunOutcome, StopReason
from autoscorer.executor.failures import describe_exit, verdict
from autoscorer.utils.errors import Blame

LIMITS = Limits(cpu_cores=1, memory_bytes=2**30, gpus=0, shm_bytes=0, time_limit_s=60, output_bytes=2**20)


def outcome(
    exit_code: int | None = 0, *, signal: int | None = None, stopped: StopReason | None = None, **details: Any
) -> RunOutcome:
    return RunOutcome(
        exit_code=exit_code,
        signal=signal,
        stopped=stopped,
        duration_s=1.5,
        peak_memory_bytes=10,
        cpu_seconds=0.5,
        stderr_tail="last words",
        log_bytes_dropped=0,
        isolation=Isolation(backend="test", mode="test"),
        details=details,
    )


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (outcome(0), None),
        (outcome(0, oom_kills=3), None),  # a child died for memory; the program coped
        (outcome(1), "CONTAINER_EXIT_NONZERO"),
        (outcome(None, signal=11), "CONTAINER_EXIT_NONZERO"),
        (outcome(None, signal=9), "CONTAINER_EXIT_NONZERO"),  # it may have killed itself
        (outcome(137), "CONTAINER_EXIT_NONZERO"),
        (outcome(137, oom_kills=1), "MEMORY_LIMIT"),
        (outcome(None, signal=9, oom_kills=1), "MEMORY_LIMIT"),
        (outcome(None, signal=9, supervisor_lost=True), "CONTAINER_EXIT_NONZERO"),
        (outcome(0, stopped=StopReason.TIME_LIMIT), "TIME_LIMIT"),
        (outcome(0, stopped=StopReason.OUTPUT_LIMIT), "OUTPUT_LIMIT"),
        (outcome(None, signal=15, stopped=StopReason.MEMORY_LIMIT), "MEMORY_LIMIT"),
        (outcome(143, stopped=StopReason.CANCELLED), "CANCELLED"),
        (outcome(137, stopped=StopReason.TIME_LIMIT, oom_kills=1), "TIME_LIMIT"),  # our stop comes first
        (outcome(0, stopped=StopReason.CANCELLED, engine_gap=True), "CANCELLED"),
        (outcome(137, engine_gap=True, oom_kills=1), "CONTAINER_WAIT_FAILED"),  # then the engine
    ],
)
def test_the_first_cause_in_order_decides(how: RunOutcome, code: str | None) -> None:
    error = verdict(how, LIMITS)
    assert (error and error.code) == code


@pytest.mark.parametrize("exit_code", [*range(1, 256)])
def test_no_exit_code_is_the_platforms_fault(exit_code: int) -> None:
    error = verdict(outcome(exit_code, oom_kills=exit_code % 2), LIMITS)
    assert error is not None
    assert error.blame is Blame.PARTICIPANT
    assert not error.retryable


@pytest.mark.parametrize("number", [*range(1, 65)])
def test_no_signal_is_the_platforms_fault(number: int) -> None:
    error = verdict(outcome(None, signal=number), LIMITS)
    assert error is not None
    assert error.blame is Blame.PARTICIPANT


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (outcome(3), "Exit code 3."),
        (outcome(126), "Exit code 126: the command cannot be executed."),
        (outcome(127), "Exit code 127: command not found."),
        (outcome(139), "Exit code 139: as after SIGSEGV."),
        (outcome(255), "Exit code 255."),
        (outcome(None, signal=11), "The program was killed by SIGSEGV."),
        (outcome(None, signal=40), "The program was killed by signal 40."),
    ],
)
def test_the_end_is_told_in_words(how: RunOutcome, text: str) -> None:
    assert describe_exit(how) == text


def test_the_error_carries_what_helps_to_find_the_cause() -> None:
    error = verdict(outcome(3), LIMITS)
    assert error is not None
    assert error.details == {
        "exit_code": 3,
        "duration_s": 1.5,
        "peak_memory_bytes": 10,
        "cpu_seconds": 0.5,
        "stderr_tail": "last words",
    }


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (StopReason.TIME_LIMIT, "60 s"),
        (StopReason.MEMORY_LIMIT, "1 GiB"),
        (StopReason.OUTPUT_LIMIT, "1 MiB in 10000 files"),
    ],
)
def test_a_limit_is_named_with_its_size(reason: StopReason, text: str) -> None:
    error = verdict(outcome(None, signal=9, stopped=reason), LIMITS)
    assert error is not None
    assert text in error.message
