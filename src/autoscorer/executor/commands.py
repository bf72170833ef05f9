"""Whether a command and its environment can be executed at all, on any backend."""

from __future__ import annotations

from autoscorer.executor.base import AttemptPlan
from autoscorer.utils.errors import AutoscorerError

MAX_COMMAND_BYTES = 100_000  # exec takes 128 KiB in one argument
MAX_COMMAND_PARTS = 1_000


def check_command(plan: AttemptPlan, *, may_be_empty: bool) -> None:
    """Raise CONFIG_VALIDATION_ERROR for a command that exec could only refuse.

    ``may_be_empty``: the image has one of its own.
    """
    parts = [*plan.command, *plan.env.keys(), *plan.env.values()]
    too_long = sum(len(part.encode()) for part in parts) > MAX_COMMAND_BYTES
    unfit = any("\0" in part for part in parts) or any("=" in key for key in plan.env)
    if too_long or len(parts) > MAX_COMMAND_PARTS or unfit or not (plan.command or may_be_empty):
        raise AutoscorerError(
            "CONFIG_VALIDATION_ERROR",
            "This container.cmd cannot be run with this container.env.",
            {
                "expected": f"a command, without NUL, at most {MAX_COMMAND_BYTES} bytes with its environment",
                "example": '["python", "predict.py"]',
            },
            cause="job_spec",
        )
