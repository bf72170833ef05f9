"""Scorers that each break one contract and keep the others: the contracts' own controls.

`Sound` keeps them all. A mutant says in ``breaks`` what it breaks. A module of its own, since contracts start
processes that import it.
"""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, Field

from autoscorer import AutoscorerError, BaseScorer, Example, Result
from autoscorer.reading.aligned import AlignedLabels
from autoscorer.schemas.result import Artifact
from autoscorer.scorers.base import NoParams


class Sound(BaseScorer):
    """The share of rows predicted right."""

    name = "sound"
    version = "1.0.0"
    task = "classification"
    primary_metric = "accuracy"
    higher_is_better = True
    score_range: ClassVar[tuple[float | None, float | None] | None] = (0.0, 1.0)
    params_model: ClassVar[type[BaseModel] | None] = NoParams
    example = Example(
        reference={"gt.csv": "id,label\n1,cat\n2,cat\n3,dog\n4,fox\n"},
        predictions={"pred.csv": "id,label\n1,cat\n2,dog\n3,dog\n4,fox\n"},
        metrics={"accuracy": 0.75},
    )
    breaks: ClassVar[set[str]] = set()

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        return self.make_result({"accuracy": self.share(self.load_labels(workspace))})

    def share(self, aligned: AlignedLabels) -> float:
        return float((aligned.y_true == aligned.y_pred).mean())


class OddlyNamed(Sound):
    name = "not a name!"
    breaks: ClassVar[set[str]] = {"declares_itself"}


class NoDirection(Sound):
    higher_is_better = None  # type: ignore[assignment]
    breaks: ClassVar[set[str]] = {"declares_itself"}


class RangeUpsideDown(Sound):
    score_range: ClassVar[tuple[float | None, float | None] | None] = (float("inf"), None)
    breaks: ClassVar[set[str]] = {"declares_itself", "range_holds"}


class AlwaysFails(Sound):
    breaks: ClassVar[set[str]] = {"gives_a_valid_result"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        raise ValueError("not written yet")


class ForgetsTheScore(Sound):
    breaks: ClassVar[set[str]] = {"gives_a_valid_result"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        return super().score(workspace, params).model_copy(update={"summary": {}})


class AnotherScoreInTheSummary(Sound):
    breaks: ClassVar[set[str]] = {"gives_a_valid_result"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        result = super().score(workspace, params)
        return result.model_copy(update={"summary": {"score": 0.5, "accuracy": 0.5}})


class LocalTime(Sound):
    breaks: ClassVar[set[str]] = {"gives_a_valid_result"}

    def _get_iso_timestamp(self) -> str:
        return "2026-01-31 12:00"


class AnotherVersion(Sound):
    breaks: ClassVar[set[str]] = {"gives_a_valid_result"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        result = super().score(workspace, params)
        return result.model_copy(update={"versioning": {**result.versioning, "version": "0.9"}})


class ListsWhatItDidNotWrite(Sound):
    breaks: ClassVar[set[str]] = {"gives_a_valid_result"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        missing = Artifact(path="artifacts/curve.csv", size=3, sha256="0" * 64)
        return super().score(workspace, params).model_copy(update={"artifacts": {"curve": missing}})


class WrongExample(Sound):
    example = Example(
        reference=Sound.example.reference,
        predictions=Sound.example.predictions,
        metrics={"accuracy": 0.8},
    )
    breaks: ClassVar[set[str]] = {"scores_its_example"}


class Constant(Sound):
    score_range: ClassVar[tuple[float | None, float | None] | None] = None
    breaks: ClassVar[set[str]] = {"direction_holds", "scores_its_example"}

    def share(self, aligned: AlignedLabels) -> float:
        return 0.5


class ConstantByItsExample(Constant):
    example = Example(reference=Sound.example.reference, predictions=Sound.example.predictions)
    breaks: ClassVar[set[str]] = {"direction_holds"}


class TurnedRound(Sound):
    higher_is_better = False
    score_range: ClassVar[tuple[float | None, float | None] | None] = None
    breaks: ClassVar[set[str]] = {"direction_holds", "truth_scores_best"}


class NeverBest(ConstantByItsExample):
    score_range: ClassVar[tuple[float | None, float | None] | None] = (0.0, 1.0)
    breaks: ClassVar[set[str]] = {"truth_scores_best"}

    def share(self, aligned: AlignedLabels) -> float:
        return 0.9 * super(Constant, self).share(aligned)


class RewardsConstantPredictions(Sound):
    score_range: ClassVar[tuple[float | None, float | None] | None] = None
    breaks: ClassVar[set[str]] = {"truth_scores_best"}

    def share(self, aligned: AlignedLabels) -> float:
        constant = len(set(aligned.y_pred.tolist())) == 1
        return 2.0 if constant and len(aligned.y_pred) > 1 else super().share(aligned)


class BelowItsRange(ConstantByItsExample):
    score_range: ClassVar[tuple[float | None, float | None] | None] = (0.0, 1.0)
    breaks: ClassVar[set[str]] = {"range_holds"}

    def share(self, aligned: AlignedLabels) -> float:
        return 2 * super(Constant, self).share(aligned) - 1


class CountsByPlaceInTheFile(Sound):
    """The first delivered row weighs more; the truth still scores 1."""

    example = Example(reference=Sound.example.reference, predictions=Sound.example.predictions)
    breaks: ClassVar[set[str]] = {"row_order_does_not_matter"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        self.load_labels(workspace)
        with (workspace / "reference" / "gt.csv").open() as file:
            truth = {row["id"]: row["label"] for row in csv.DictReader(file)}
        with (workspace / "output" / "pred.csv").open() as file:
            right = [row["label"] == truth[row["id"]] for row in csv.DictReader(file)]
        weights = 1 / np.arange(1, len(right) + 1)
        return self.make_result({"accuracy": float((weights * right).sum() / weights.sum())})


class FailsOnOneClass(Sound):
    breaks: ClassVar[set[str]] = {"odd_data_are_scored_or_refused"}

    def share(self, aligned: AlignedLabels) -> float:
        return super().share(aligned) * (len(aligned.labels) - 1) / (len(aligned.labels) - 1)


class BlamesThePredictionsForTheTruth(Sound):
    breaks: ClassVar[set[str]] = {"odd_data_are_scored_or_refused"}

    def share(self, aligned: AlignedLabels) -> float:
        if len(set(aligned.y_true.tolist())) == 1:
            raise AutoscorerError("BAD_FORMAT", "only one label", cause="prediction")
        return super().share(aligned)


class ReadsByHand(Sound):
    """What goes wrong in reading is told by Python, not by the scorer."""

    breaks: ClassVar[set[str]] = {"faults_are_blamed_rightly"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        with (workspace / "reference" / "gt.csv").open() as file:
            truth = {row["id"]: row["label"] for row in csv.DictReader(file)}
        with (workspace / "output" / "pred.csv").open() as file:
            delivered = {row["id"]: row["label"] for row in csv.DictReader(file)}
        right = [delivered[name] == label for name, label in truth.items()]
        return self.make_result({"accuracy": sum(right) / len(right)})


class AlwaysBlamesTheParticipant(Sound):
    breaks: ClassVar[set[str]] = {"faults_are_blamed_rightly"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        try:
            return super().score(workspace, params)
        except AutoscorerError as exc:
            raise AutoscorerError(exc.code, exc.message, cause="prediction") from exc


class ScoresOnlyWhatIsThere(Sound):
    """Rows that are missing are not counted, so one answers what one is sure of."""

    breaks: ClassVar[set[str]] = {"faults_are_blamed_rightly"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        try:
            return super().score(workspace, params)
        except AutoscorerError as exc:
            if not exc.details.get("missing_count") or exc.details["missing_count"] > 1:
                raise
            return self.make_result({"accuracy": 1.0})


class RemembersEarlierCalls(Sound):
    breaks: ClassVar[set[str]] = {"same_every_time"}
    calls = 0

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        self.calls += 1
        result = super().score(workspace, params)
        return result.model_copy(update={"versioning": {**result.versioning, "calls": str(self.calls)}})


class GoesThroughASet(Sound):
    breaks: ClassVar[set[str]] = {"same_in_another_process"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        result = super().score(workspace, params)
        labels = " ".join({f"label {number}" for number in range(50)})
        return result.model_copy(update={"versioning": {**result.versioning, "labels": labels}})


class ReadsTheTimeZone(Sound):
    breaks: ClassVar[set[str]] = {"surroundings_do_not_matter"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        result = super().score(workspace, params)
        return result.model_copy(update={"versioning": {**result.versioning, "zone": time.tzname[0]}})


class NeedsItsFolder(Sound):
    breaks: ClassVar[set[str]] = {"surroundings_do_not_matter"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        result = super().score(workspace, params)
        return result.model_copy(update={"versioning": {**result.versioning, "at": str(Path.cwd())}})


class NeedsTheEnvironment(Sound):
    breaks: ClassVar[set[str]] = {"surroundings_do_not_matter"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        result = super().score(workspace, params)
        home = os.environ.get("PATH", "")
        return result.model_copy(update={"versioning": {**result.versioning, "path": home}})


class TakesAnything(BaseModel):
    beta: float = 2.0


class AcceptsUnknownParams(Sound):
    params_model: ClassVar[type[BaseModel] | None] = TakesAnything
    breaks: ClassVar[set[str]] = {"params_are_checked"}


class WrongDefault(BaseModel, extra="forbid"):
    beta: float = Field(default=-1.0, gt=0)


class HasAWrongDefault(Sound):
    params_model: ClassVar[type[BaseModel] | None] = WrongDefault
    breaks: ClassVar[set[str]] = {"params_are_checked"}


class WritesBesideTheTruth(Sound):
    breaks: ClassVar[set[str]] = {"files_are_left_alone"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        (workspace / "reference" / "cache.npy").write_bytes(b"x")
        return super().score(workspace, params)


class ChangesThePredictions(Sound):
    breaks: ClassVar[set[str]] = {"files_are_left_alone"}

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        result = super().score(workspace, params)
        (workspace / "output" / "pred.csv").unlink()
        return result


def mutants() -> list[type[Sound]]:
    """Every scorer of this module that breaks something."""
    return [made for made in globals().values() if isinstance(made, type) and getattr(made, "breaks", None)]
