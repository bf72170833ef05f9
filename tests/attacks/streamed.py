"""The attacks on output, disk and log on a backend that sees nothing of ours.

Their controls, the same programs where nothing holds them, are in test_containment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
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

ATTACKS = {row.name: row for row in (*outputs.ATTACKS, *disk.ATTACKS) if not row.long}
# No kernel holds these here: the output is looked at once a second, and before the program is stopped it may
# have won, on a busy node with a fast disk all of it. Nothing of it is taken.
FILLS = (
    "fills the disk",
    "fills the disk in a folder that cannot be read",
    "fills the disk below a path too long to name",
)
BRAKED = ("a million empty files", *FILLS)
FILLS_MIB = 2_000  # a hundred times what they may; several at once are not to fill the disk of whoever tests


class _Images:
    """The test bed's images, as every engine and node has them."""

    def name(self, image: str) -> str:
        return image


def check_contained(name: str, root: Path, given: Mapping[str, str], *, backend: str) -> Path:
    """Run an attack with this configuration: it gets its code and does no harm. Its workspace."""
    attack: Attack = ATTACKS[name]
    if name in FILLS:
        attack = replace(attack, goal=FILLS_MIB)
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
    assert {*BRAKED} <= {*ATTACKS}
    if name not in BRAKED:
        assert not attack.harm(arena.seen(workspace, error))
    assert os.listdir(workspace / ".attempts") == []
    return workspace
