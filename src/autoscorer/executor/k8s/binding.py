"""The transport *bind*: the data lie on a volume that the pod's node mounts and we see too."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoscorer.executor.base import AttemptPlan
from autoscorer.executor.docker.output_cap import PolledOutput
from autoscorer.executor.docker.planning import NOBODY
from autoscorer.executor.docker.readable import check_readable
from autoscorer.executor.k8s.manifest import Claimed
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError


class Bound:
    """What one attempt has on the volume. Close it always."""

    def __init__(self, plan: AttemptPlan, mount: Path, claim: str) -> None:
        """Raises RESOURCE_UNAVAILABLE for a workspace that does not lie on the volume."""
        check_readable(plan.input_dir, NOBODY)
        self._output = PolledOutput(plan)
        # Only below folders of ours: a job writes into `output` and into nothing above it. The view is
        # /workspace, read-only, with the mount points in it: on another volume than ours it would be empty,
        # and no runtime could start the program.
        self._view = plan.attempt_dir / f"view-{secrets.token_hex(8)}"
        for folder in (self._view, self._view / "input", self._view / "output"):
            folder.mkdir(mode=0o755)
        shutil.copyfile(plan.spec_path, self._view / "meta.json")
        (self._view / "meta.json").chmod(0o644)
        self.claimed = Claimed(
            claim=claim,
            view_path=_below(mount, self._view),
            input_path=_below(mount, plan.input_dir),
            output_path=_below(mount, self._output.path),
        )

    @property
    def output(self) -> Path:
        return self._output.path

    def breach(self, *, at_end: bool = False) -> Mapping[str, Any] | None:
        """What was written, if that is more than allowed."""
        return self._output.breach(at_end=at_end)

    def close(self) -> None:
        """Safe to call twice."""
        self._output.close()
        remove_tree(self._view)


def bind(plan: AttemptPlan, settings: Settings) -> Bound:
    """The attempt on K8S_WORKSPACE_CLAIM. Raises RESOURCE_UNAVAILABLE."""
    mount, claim = settings.k8s_workspace_mount, settings.k8s_workspace_claim
    if mount is None or claim is None:
        raise AutoscorerError(
            "RESOURCE_UNAVAILABLE",
            "K8S_TRANSPORT is bind, and K8S_WORKSPACE_CLAIM or K8S_WORKSPACE_MOUNT is not set.",
            {"setting": "K8S_WORKSPACE_CLAIM", "expected": "both of them, or K8S_TRANSPORT: stream"},
        )
    return Bound(plan, mount.resolve(), claim)


def _below(mount: Path, path: Path) -> str:
    real = path.resolve()
    if not real.is_relative_to(mount):
        raise AutoscorerError(
            "RESOURCE_UNAVAILABLE",
            "The workspace does not lie on the volume that the cluster mounts.",
            {"setting": "K8S_WORKSPACE_MOUNT", "expected": "a workspace below it, or K8S_TRANSPORT: stream"},
        )
    return str(real.relative_to(mount))
