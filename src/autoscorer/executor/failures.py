"""Whose failure it was: one pure function from how a program ended to the error, if any.

Nothing that a program can do (exit code, log text, a signal to itself, a full disk) may lead to an
error of the platform, for that would be a free second try.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

from autoscorer.executor.base import LEFT_RUNNING, Limits, RunOutcome, StopReason
from autoscorer.utils.errors import AutoscorerError

_SHELL_CODES = {126: "the command cannot be executed", 127: "command not found"}


def verdict(outcome: RunOutcome, limits: Limits) -> AutoscorerError | None:
    """None if the program succeeded, else its error.

    Judged in this order: our stop; a gap of the engine (``details["engine_gap"]``); the exit code;
    then what the kernel killed for memory (``details["oom_kills"]``). A child killed for memory under
    a program that ends with 0 is no failure.
    """
    if outcome.stopped is not None:
        return _STOPS[outcome.stopped](outcome, limits)
    if outcome.details.get("engine_gap"):
        return AutoscorerError(
            "CONTAINER_WAIT_FAILED", "The engine was lost while the program ran.", _facts(outcome)
        )
    if outcome.exit_code == 0:
        return None
    if outcome.details.get("oom_kills"):
        return _memory_limit(outcome, limits)
    return AutoscorerError("CONTAINER_EXIT_NONZERO", describe_exit(outcome), _facts(outcome))


def stopped_early(reason: StopReason, when: str) -> AutoscorerError:
    """The error of a job that was to stop before its program ran; one of a worker that stops goes again."""
    if reason is StopReason.WORKER_STOPPED:
        return AutoscorerError("WORKER_STOPPED", f"The worker was told to stop {when}.")
    return AutoscorerError("CANCELLED", f"The job was stopped {when}.")


def describe_exit(outcome: RunOutcome) -> str:
    """How it ended, in words: ``Exit code 127: command not found.``"""
    if outcome.exit_code is None:
        return f"The program was killed by {_signal_name(outcome.signal or 0)}."
    meaning = _SHELL_CODES.get(outcome.exit_code)
    if meaning is None and outcome.exit_code > 128 and (name := _signal_name(outcome.exit_code - 128)):
        meaning = f"as after {name}" if name.startswith("SIG") else None
    return f"Exit code {outcome.exit_code}{f': {meaning}' if meaning else ''}."


def _time_limit(outcome: RunOutcome, limits: Limits) -> AutoscorerError:
    return AutoscorerError(
        "TIME_LIMIT",
        f"The program ran longer than its time limit of {limits.time_limit_s:g} s and was stopped.",
        {**_facts(outcome), "time_limit_s": limits.time_limit_s},
    )


def _memory_limit(outcome: RunOutcome, limits: Limits) -> AutoscorerError:
    return AutoscorerError(
        "MEMORY_LIMIT",
        f"The program used more than its memory limit of {_size(limits.memory_bytes)} and was stopped.",
        {**_facts(outcome), "memory_limit_bytes": limits.memory_bytes},
    )


def _output_limit(outcome: RunOutcome, limits: Limits) -> AutoscorerError:
    allowed = f"{_size(limits.output_bytes)} in {limits.output_entries} files and folders"
    return AutoscorerError(
        "OUTPUT_LIMIT",
        f"The program wrote more output than the {allowed} it may.",
        {
            **_facts(outcome),
            "output_limit_bytes": limits.output_bytes,
            "output_limit_entries": limits.output_entries,
            "output": outcome.details.get("output"),
        },
    )


def _cancelled(outcome: RunOutcome, limits: Limits) -> AutoscorerError:
    return AutoscorerError("CANCELLED", "The job was stopped before it was done.", _facts(outcome))


def _worker_stopped(outcome: RunOutcome, limits: Limits) -> AutoscorerError:
    message = "The worker was told to stop before the program had ended."
    facts = _facts(outcome)
    if outcome.details.get(LEFT_RUNNING):
        message += " It runs on, and the next worker takes it up."
        facts[LEFT_RUNNING] = True
    return AutoscorerError("WORKER_STOPPED", message, facts)


_STOPS: Mapping[StopReason, Callable[[RunOutcome, Limits], AutoscorerError]] = {
    StopReason.TIME_LIMIT: _time_limit,
    StopReason.MEMORY_LIMIT: _memory_limit,
    StopReason.OUTPUT_LIMIT: _output_limit,
    StopReason.CANCELLED: _cancelled,
    StopReason.WORKER_STOPPED: _worker_stopped,
    StopReason.LEASE_LOST: _worker_stopped,  # told to nobody: its lease was another's by then
}


def _facts(outcome: RunOutcome) -> dict[str, Any]:
    """What helps to find the cause; nothing that is absent."""
    facts = {
        "exit_code": outcome.exit_code,
        "signal": _signal_name(outcome.signal) if outcome.signal else None,
        "duration_s": round(outcome.duration_s, 3),
        "peak_memory_bytes": outcome.peak_memory_bytes,
        "cpu_seconds": outcome.cpu_seconds,
        "stderr_tail": outcome.stderr_tail or None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _size(size_bytes: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.4g} {unit}"
    return f"{size_bytes} bytes"
