"""The attacks on output, disk and log on a backend that sees nothing of ours.

Their controls, the same programs where nothing holds them, are in test_containment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from autoscorer import pipeline
from autoscorer.runtime import job_context
from autoscorer.scorers.catalog import Catalog
from autoscorer.utils.config import Config
from autoscorer.utils.errors import AutoscorerError
from tests.attacks import disk, outputs
from tests.attacks.arena import Arena
from tests.attacks.case import Attack


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long a program pauses after each file, in seconds, and how many it makes at most."""

    pause_s: float
    goal: int


ATTACKS = {row.name: row for row in (*outputs.ATTACKS, *disk.ATTACKS) if not row.long}
# No kernel holds these here: the output is looked at once a second. They get a pace, so that who wins is
# not decided by how much a disk takes in a second, and so that several at once leave room on it.
PACES = {name: Pace(pause_s=0.01, goal=3_000) for name in ATTACKS if name.startswith("fills the disk")}
PACES["a million empty files"] = Pace(pause_s=0.002, goal=10**6)


class _Images:
    """The test bed's images, as every engine and node has them."""

    def name(self, image: str) -> str:
        return image


def check_contained(name: str, root: Path, given: Mapping[str, str], *, backend: str) -> Path:
    """Run an attack with this configuration: it gets its code and does no harm. Its workspace."""
    attack = _paced(ATTACKS[name])
    arena = Arena(engine=None, host="", root=root, images=cast(Any, _Images()))
    workspace = arena.workspace(attack)
    environ = {**given, **attack.settings, "DATA_DIR": str(root / "data")}
    settings = Config(root / "none.yaml", environ=environ).settings
    error = None
    try:
        pipeline.run(job_context(settings, Catalog(), backend=backend), workspace)
    except AutoscorerError as exc:
        error = exc
    assert (error.code if error else None) in attack.expected, error
    assert error is None or error.blame == attack.blame
    seen = arena.seen(workspace, error)
    assert not attack.harm(seen)
    assert error is None or [path for path in seen.output.rglob("*") if path.name != "result.json"] == []
    assert os.listdir(workspace / ".attempts") == []
    return workspace


def _paced(attack: Attack) -> Attack:
    if (pace := PACES.get(attack.name)) is None:
        return attack
    return replace(attack, goal=pace.goal, container={"env": {"PAUSE_S": str(pace.pause_s)}})
