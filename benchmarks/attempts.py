"""The smallest attempt there is, for what a backend costs besides its container."""

from __future__ import annotations

from pathlib import Path

from autoscorer.executor.base import AttemptPlan, Limits

IMAGE = "autoscorer-test/busybox:1"


def attempt_of_true(root: Path, folder: Path, limits: Limits) -> AttemptPlan:
    """`true` in the workspace ``root``; what it writes goes to ``folder``."""
    return AttemptPlan(
        job_id="bench",
        attempt_id="1",
        image=IMAGE,
        command=("true",),
        env={},
        limits=limits,
        input_dir=root / "input",
        spec_path=root / "meta.json",
        attempt_dir=folder,
        logs_dir=root / "logs",
    )
