"""A workspace as the data to try a scorer on: read, never written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoscorer import staging
from autoscorer.harvest import HarvestPolicy
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.view import ScoringView, workspace_view
from autoscorer.testing.case import MAX_BYTES
from autoscorer.workspace import Workspace


@dataclass(frozen=True)
class WorkspaceData:
    """What is to be scored, and with which parameters."""

    view: ScoringView
    params: Mapping[str, Any]


@contextmanager
def open_workspace(card: ScorerCard, path: Path, params: Mapping[str, Any] | None) -> Iterator[WorkspaceData]:
    """A view of the workspace in a temporary folder, gone afterwards; nothing is written into it.

    ``params`` stand for those of `meta.json`, which count only if that names this scorer. Raises
    AutoscorerError for a workspace that cannot be read and as `harvest` does.
    """
    workspace = Workspace.open(path)
    spec = workspace.load_spec()
    if params is None:
        params = spec.scorer_params if spec.scorer in (card.name, *card.aliases) else {}
    output = staging.output_dir(workspace, spec)
    with tempfile.TemporaryDirectory(prefix="autoscorer-") as scratch:
        policy = HarvestPolicy(max_bytes=MAX_BYTES, stage="scoring")
        yield WorkspaceData(workspace_view(workspace, output, Path(scratch) / "view", policy), params)
