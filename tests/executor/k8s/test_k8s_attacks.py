"""The attacks on output, disk and log through the stream transport, on a real cluster.

Their controls, the same programs where nothing holds them, are in tests/attacks/test_containment.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from autoscorer import pipeline
from autoscorer.runtime import job_context
from autoscorer.scorers.catalog import Catalog
from autoscorer.utils.config import Config
from autoscorer.utils.errors import AutoscorerError
from tests.attacks import disk, outputs
from tests.attacks.arena import Arena
from tests.attacks.case import Attack
from tests.executor.k8s.pods import variables

pytestmark = [pytest.mark.k8s, pytest.mark.slow]
ATTACKS = {row.name: row for row in (*outputs.ATTACKS, *disk.ATTACKS) if not row.long}
# No kernel holds this one here: the output is looked at once a second, and by then it has won. Nothing of
# it is taken.
BRAKED = ("a million empty files",)


class _Images:
    """The test bed's images, as the node has them."""

    def name(self, image: str) -> str:
        return image


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    return Arena(engine=None, host="", root=tmp_path, images=cast(Any, _Images()))


@pytest.mark.parametrize("transport", ["stream", "bind"])
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_its_code_and_does_no_harm(
    arena: Arena, name: str, transport: str, request: pytest.FixtureRequest
) -> None:
    attack: Attack = ATTACKS[name]
    given = variables() | dict(attack.settings) | {"DATA_DIR": str(arena.root / "data")}
    if transport == "bind":
        given |= cast(dict[str, str], request.getfixturevalue("claim_here"))
    workspace = arena.workspace(attack)
    settings = Config(arena.root / "none.yaml", environ=given).settings
    error = None
    try:
        pipeline.run(job_context(settings, Catalog(), backend="k8s"), workspace)
    except AutoscorerError as exc:
        error = exc
    assert (error.code if error else None) in attack.expected, error
    assert error is None or error.blame == attack.blame
    if name not in BRAKED:
        assert not attack.harm(arena.seen(workspace, error))
    assert os.listdir(workspace / ".attempts") == []
