"""Small delivered files, and both readers' answers to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoscorer.reading.align import strict_labels, strict_values
from autoscorer.reading.aligned import AlignedLabels, AlignedValues
from autoscorer.reading.fast import align_labels, align_values
from autoscorer.reading.regular import regular_csv
from autoscorer.reading.source import Role, Source
from autoscorer.utils.errors import AutoscorerError

REFERENCE = Source(Role.REFERENCE, "reference/gt.csv", Path("gt.csv"))
PREDICTION = Source(Role.PREDICTION, "output/pred.csv", Path("pred.csv"))
Aligned = AlignedLabels | AlignedValues


def strict_answer(reference: bytes, prediction: bytes, *, numeric: bool) -> Aligned | AutoscorerError:
    """What the definition says: columns or a fault. Any other exception is a bug and passes through."""
    try:
        return (strict_values if numeric else strict_labels)(REFERENCE, PREDICTION, (reference, prediction))
    except AutoscorerError as fault:
        return fault


def fast_answer(reference: bytes, prediction: bytes, *, numeric: bool) -> Aligned | None:
    """What the fast reader says: columns, or None where it hands over."""
    truth, delivered = regular_csv(reference), regular_csv(prediction)
    if truth is None or delivered is None:
        return None
    return (align_values if numeric else align_labels)(truth, delivered)


def contents(aligned: Any) -> tuple[object, ...]:
    """Aligned columns as plain values that compare: labels by name, floats by their bits."""
    ids = aligned.ids_of(range(len(aligned.y_true)))
    if isinstance(aligned, AlignedLabels):
        sides = (aligned.y_true, aligned.y_pred)
        return (ids, aligned.labels, *([aligned.labels[code] for code in side] for side in sides))
    return ids, aligned.y_true.tobytes(), aligned.y_pred.tobytes()
