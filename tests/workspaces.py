"""Workspaces made in a temporary folder, for tests of whatever works on one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MakeWorkspace = Callable[..., Path]


@pytest.fixture
def make_workspace(tmp_path: Path) -> MakeWorkspace:
    """Make a workspace: ``make_workspace(program="…", spec={…}, truth="…", predictions="…")``."""
    made = 0

    def make(
        *,
        program: str | None = None,
        spec: Mapping[str, Any] | None = None,
        truth: str | None = "id,label\n1,cat\n2,dog\n",
        predictions: str | None = None,
    ) -> Path:
        nonlocal made
        made += 1
        root = tmp_path / f"workspace{made}"
        for name in ("input", "reference"):
            (root / name).mkdir(parents=True)
        value: dict[str, Any] = {
            "job_id": f"job-{made}",
            "task_type": "classification",
            "scorer": "classification_f1",
            "time_limit": 20,
            "resources": {"cpu": 1, "memory": "256Mi", "gpus": 0},
        }
        if program is not None:
            value["container"] = {"image": "python:3.10-slim", "cmd": ["python", "-c", program]}
        (root / "meta.json").write_text(json.dumps({**value, **(spec or {})}))
        if truth is not None:
            (root / "reference" / "gt.csv").write_text(truth)
        if predictions is not None:
            (root / "output").mkdir()
            (root / "output" / "pred.csv").write_text(predictions)
        return root

    return make
