"""What a scorer is: the protocol, and the two base classes that spare its author the routine."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel

from autoscorer.reading.ids import check_same_ids
from autoscorer.reading.rows import Rows, read_rows
from autoscorer.reading.source import Role, Source, find_source
from autoscorer.schemas.result import Artifact, Result, canonical_json
from autoscorer.schemas.scorer import Example
from autoscorer.scorers.handover import media_type_of
from autoscorer.utils.artifacts import write_fresh

if TYPE_CHECKING:  # numpy is not imported until a scorer computes
    from autoscorer.reading.aligned import AlignedLabels, AlignedValues
    from autoscorer.reading.coco import PredictedBoxes, Reference


@runtime_checkable
class Scorer(Protocol):
    """All the platform asks of a scorer."""

    name: str
    version: str

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        """Compare ``workspace/output`` with the reference and return the result.

        Raises AutoscorerError with MISSING_FILE, PARSE_ERROR or BAD_FORMAT for a fault of the data
        (``cause`` is ``prediction`` or ``reference``); anything else raised is the scorer's own fault.
        """
        ...


class NoParams(BaseModel, extra="forbid"):
    """The parameters of a scorer that takes none."""


class BaseScorer(ABC):
    """A scorer with the routine done: finding files, time stamps, artifacts, parameters.

    ``name`` and ``version`` are required. The other class attributes describe the scorer; what is
    declared is shown by `scorers list` and checked, what is None is not.
    """

    name: str = ""
    version: str = ""
    task: ClassVar[str | None] = None
    primary_metric: ClassVar[str | None] = None
    higher_is_better: ClassVar[bool | None] = None
    score_range: ClassVar[tuple[float | None, float | None] | None] = None
    params_model: ClassVar[type[BaseModel] | None] = None
    reference_files: ClassVar[tuple[str, ...]] = ("gt.csv", "gt.json")
    prediction_files: ClassVar[tuple[str, ...]] = ("pred.csv", "pred.json")
    example: ClassVar[Example | None] = None

    @abstractmethod
    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        """See `Scorer.score`."""

    def reference(self, workspace: Path) -> Source:
        """The truth: the first of ``reference_files`` in ``reference/``, else in ``input/``."""
        return find_source(workspace, Role.REFERENCE, self.reference_files)

    def predictions(self, workspace: Path) -> Source:
        """The delivered file: the one of ``prediction_files`` in ``output/``."""
        return find_source(workspace, Role.PREDICTION, self.prediction_files)

    def load_labels(self, workspace: Path) -> AlignedLabels:
        """Truth and predictions read, checked, and aligned by id; labels are text.

        ``y_true`` and ``y_pred`` are arrays of numbers into ``labels``, one a row of the truth. Raises
        AutoscorerError MISSING_FILE, PARSE_ERROR or BAD_FORMAT, blamed on the side at fault.
        """
        from autoscorer.reading.align import load_labels

        return load_labels(self.reference(workspace), self.predictions(workspace))

    def load_values(self, workspace: Path, *, largest: float = 1e100) -> AlignedValues:
        """As `load_labels`, for numbers: ``y_true`` and ``y_pred`` are arrays of floats.

        One beyond ±``largest`` is refused: no sum or square of the others overflows.
        """
        from autoscorer.reading.align import load_values

        reference, predictions = self.reference(workspace), self.predictions(workspace)
        aligned = load_values(reference, predictions)
        for source, values in ((reference, aligned.y_true), (predictions, aligned.y_pred)):
            if (size := float(abs(values).max())) > largest:
                message = f"{source.name}: a number of size {size:g} is beyond {largest:g}"
                raise source.fault("BAD_FORMAT", message, {"expected": f"numbers within ±{largest:g}"})
        return aligned

    def load_boxes(self, workspace: Path) -> tuple[Reference, PredictedBoxes]:
        """Detection files read and checked: the truth with its images and categories, the predicted boxes.

        ``images`` and ``categories`` of both are numbers, the same ones for the same id. Raises as
        `load_labels`.
        """
        from autoscorer.reading.coco import read_predictions, read_reference

        reference = read_reference(self.reference(workspace))
        return reference, read_predictions(self.predictions(workspace), reference)

    def make_result(
        self,
        metrics: Mapping[str, float | None],
        *,
        artifacts: Mapping[str, Artifact] | None = None,
        **versioning: str,
    ) -> Result:
        """The result with these metrics; the headline (``primary_metric``, else the first) is the score.

        A metric that is None is not defined by this data: it is left out and named in
        ``versioning.undefined``. Raises ValueError if that is the headline: a score there must be, or a fault
        with blame (`self.reference(workspace).fault`); and for a number that is not finite.
        """
        headline = self.primary_metric or next(iter(metrics))
        defined = {name: float(value) for name, value in metrics.items() if value is not None}
        if odd := [f"{name} is {value}" for name, value in defined.items() if not math.isfinite(value)]:
            raise ValueError(f"{', '.join(odd)}: a metric that the data do not define is None")
        if headline not in defined:
            raise ValueError(f"the headline {headline} is not defined: raise a fault that says whose it is")
        return Result(
            summary={"score": defined[headline], headline: defined[headline]},
            metrics=defined,
            artifacts=dict(artifacts or {}),
            versioning=self._versioning(
                undefined=[name for name, value in metrics.items() if value is None], **versioning
            ),
        )

    def write_artifact(
        self, workspace: Path, filename: str, content: str | bytes, *, shows_truth: bool = True
    ) -> Artifact:
        """Write `output/artifacts/<filename>` and describe it for ``make_result(…, artifacts={…})``.

        ``shows_truth=False`` says that a participant may have it: nobody can read from it what is true of
        a single row.
        """
        octets = content.encode() if isinstance(content, str) else content
        return self._write_artifact(workspace, filename, octets, shows_truth=shows_truth)

    def _get_iso_timestamp(self) -> str:
        """Now, as ISO 8601 UTC with ``Z``."""
        return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _versioning(self, *, undefined: list[str] | None = None, **extra: str) -> dict[str, str]:
        """The required keys; ``undefined`` names metrics this data does not define."""
        versioning = {"scorer": self.name, "version": self.version, "timestamp": self._get_iso_timestamp()}
        if undefined:
            versioning["undefined"] = canonical_json(sorted(undefined))
        return versioning | extra

    def _write_artifact(
        self,
        workspace: Path,
        filename: str,
        content: bytes,
        *,
        shows_truth: bool = True,
        rows: int | None = None,
        rows_in_all: int | None = None,
    ) -> Artifact:
        """As `write_artifact`; a table that leaves rows out says how many of how many it has."""
        folder = workspace / "output" / "artifacts"
        folder.mkdir(parents=True, exist_ok=True)
        write_fresh(folder / filename, content)
        return Artifact(
            path=f"artifacts/{filename}",
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            shows_truth=shows_truth,
            media_type=media_type_of(filename),
            rows=rows,
            rows_in_all=rows_in_all,
        )


class BaseCSVScorer(BaseScorer):
    """A scorer over rows of text: both tables as ``{id: {column: text}}``, checked before they are used.

    Every row has a value in each of ``columns``; further columns may be there.
    """

    columns: ClassVar[tuple[str, ...]] = ("label",)

    def _load_ground_truth(self, workspace: Path) -> dict[str, dict[str, str]]:
        """The truth's rows by id, at least one. Raises AutoscorerError blamed on the reference."""
        source = self.reference(workspace)
        rows = read_rows(source, self.columns)
        if not rows:
            raise source.fault("BAD_FORMAT", f"{source.name} has no rows", {"expected": "at least one row"})
        return rows

    def _load_predictions(self, workspace: Path) -> dict[str, dict[str, str]]:
        """The delivered rows by id. Raises AutoscorerError blamed on the prediction."""
        return read_rows(self.predictions(workspace), self.columns)

    def _validate_data_consistency(
        self, gt: Mapping[str, Mapping[str, str]], pred: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Raises AutoscorerError BAD_FORMAT, blamed on the prediction, unless both have the same ids."""
        source = pred.source if isinstance(pred, Rows) else None
        check_same_ids(gt, pred, source)
