"""One metric for every label of the reference: as metric keys while they are few; what they leave untold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscorer.schemas.result import canonical_json

if TYPE_CHECKING:  # numpy is not imported until a scorer computes
    from autoscorer.metrics.classification import FloatArray, LabelCounts

MOST_KEYS = 1_000
SHOWN_LABELS = 5
SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class PerLabel:
    """``values`` and ``counts`` over ``labels``; a label of the reference becomes the key ``prefix + label``.

    A key in ``taken`` belongs to another metric and stays its own: that label is in the artifact
    ``per_label`` only, and ``versioning.labels_without_key`` names it.
    """

    labels: tuple[str, ...]
    counts: LabelCounts
    values: FloatArray
    prefix: str
    taken: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Key to value in the order of the labels; empty when the reference has over 1,000 labels."""
        codes = self._reference_codes()
        if len(codes) > MOST_KEYS:
            return {}
        keyed = {self.prefix + self.labels[code]: float(self.values[code]) for code in codes}
        return {key: value for key, value in keyed.items() if key not in self.taken}

    def versioning(self) -> dict[str, str]:
        """What the metrics alone would not tell: labels nobody could get right, labels without a key."""
        told = {}
        foreign = [label for label, rows in zip(self.labels, self.counts.true, strict=True) if not rows]
        if foreign:
            told["labels_not_in_reference"] = _counted(foreign)
        if self._without_key():
            told["labels_without_key"] = _counted(self._without_key())
        return told

    def _reference_codes(self) -> list[int]:
        return [code for code, rows in enumerate(self.counts.true) if rows]

    def _without_key(self) -> list[str]:
        return [
            self.labels[code]
            for code in self._reference_codes()
            if self.prefix + self.labels[code] in self.taken
        ]


def _counted(labels: list[str]) -> str:
    first = [label[:SHOWN_CHARACTERS] for label in labels[:SHOWN_LABELS]]
    return canonical_json({"count": len(labels), "first": first})
