"""Aligned columns: what the readers hand to the metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Rows of the reference (from 0) to their ids. Ten million ids as texts would take longer than the scoring.
IdsOf = Callable[[Sequence[int]], list[str]]


@dataclass(frozen=True)
class AlignedLabels:
    """Codes into ``labels`` (sorted, all that either side uses), one per row of the reference."""

    labels: tuple[str, ...]
    y_true: NDArray[np.integer[Any]]
    y_pred: NDArray[np.integer[Any]]
    ids_of: IdsOf


@dataclass(frozen=True)
class AlignedValues:
    """Finite 64-bit floats, one per row of the reference."""

    y_true: NDArray[np.float64]
    y_pred: NDArray[np.float64]
    ids_of: IdsOf
