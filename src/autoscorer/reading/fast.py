"""The fast reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoscorer.reading.align import AlignedLabels, AlignedValues


def align_labels(reference: bytes, prediction: bytes) -> AlignedLabels | None:
    return None


def align_values(reference: bytes, prediction: bytes) -> AlignedValues | None:
    return None
