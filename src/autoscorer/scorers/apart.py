"""A scorer that computes in a process apart, in the shape of one that is loaded here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoscorer.schemas.result import Result
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.utils.config import Config


class ScorerApart:
    """What `get_scorer` gives for a scorer that was loaded from a file or belongs to a package.

    Its code is never imported here. It has what its card says (``name``, ``version``, ``task``, …) and
    stays the content that it was found with.
    """

    def __init__(self, card: ScorerCard) -> None:
        self.card = card
        self.name, self.version = card.name, card.version
        self.task, self.primary_metric = card.task, card.primary_metric
        self.higher_is_better, self.score_range = card.higher_is_better, card.score_range
        self.reference_files, self.prediction_files = card.reference_files, card.prediction_files

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        """See `Scorer.score`. Raises SCORER_NOT_FOUND when this content is no longer kept."""
        from autoscorer.scorers.library.opening import open_catalog

        with open_catalog(Config().settings) as catalog, catalog.held(self.card.pin) as entry:
            return catalog.score(entry, Path(workspace), params).result
