"""Rows of two large tables brought together by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

Ids = NDArray[np.int64]
Index = NDArray[np.integer[Any]] | slice
# A table of all ids between the least and the greatest is used while it has at most so many slots a row.
SLOTS_A_ROW = 4
# Temporary arrays of this many rows stay in the cache; whole columns would not.
BLOCK_ROWS = 65_536


def match_rows(reference: pl.Series, prediction: pl.Series) -> Index | None:
    """For each prediction a row of the reference with the same id; ``slice(None)`` if they are in order.

    Both are Int64 or both String, equally long, without nulls. None if an id stands twice in the reference
    or is not there at all. Two predictions may still get the same row: see `placed`.
    """
    import polars as pl

    if reference.dtype != pl.Int64:
        return _match_by_join(reference, prediction)
    truth, delivered = reference.to_numpy(), prediction.to_numpy()
    increasing = _is_increasing(truth)
    if increasing and _are_equal(truth, delivered):
        return slice(None)
    low, high = int(truth.min()), int(truth.max())
    if int(delivered.min()) < low or int(delivered.max()) > high:
        return None
    if increasing and high - low == len(truth) - 1:
        return delivered - low if low else delivered
    if high - low < SLOTS_A_ROW * len(truth):
        return _match_by_slot(truth, delivered, low, high)
    return _match_by_join(reference, prediction)


def placed(column: NDArray[Any], rows: Index, hole: float) -> NDArray[Any] | None:
    """``column`` in the reference's order, None if two of its rows have the same place.

    ``hole`` is a value of its type that it does not hold (NaN for floats).
    """
    if isinstance(rows, slice):
        return column
    ordered = np.full_like(column, hole)
    ordered[rows] = column
    # As many rows as places: one that got two values means another that got none.
    holes = np.isnan(ordered) if np.isnan(hole) else ordered == hole
    return None if holes.any() else ordered


def _match_by_slot(truth: Ids, delivered: Ids, low: int, high: int) -> Index | None:
    row_of = np.full(high - low + 1, -1, dtype=np.int64)
    row_of[truth - low] = np.arange(len(truth))
    if np.count_nonzero(row_of >= 0) != len(truth):
        return None
    rows = row_of[delivered - low]
    return rows if int(rows.min()) >= 0 else None


def _match_by_join(reference: pl.Series, prediction: pl.Series) -> Index | None:
    import polars as pl

    truth = pl.DataFrame({"id": reference, "row": np.arange(len(reference))})
    delivered = pl.DataFrame({"id": prediction})
    rows = delivered.join(truth, on="id", how="left", maintain_order="left")["row"]
    if len(rows) != len(prediction) or rows.null_count() or reference.n_unique() != len(reference):
        return None
    return rows.to_numpy()


def _is_increasing(ids: Ids) -> bool:
    starts = range(0, len(ids), BLOCK_ROWS)
    ends = [ids[start : start + BLOCK_ROWS + 1] for start in starts]
    return all(bool((block[1:] > block[:-1]).all()) for block in ends)


def _are_equal(truth: Ids, delivered: Ids) -> bool:
    starts = range(0, len(truth), BLOCK_ROWS)
    return all(
        np.array_equal(truth[start : start + BLOCK_ROWS], delivered[start : start + BLOCK_ROWS])
        for start in starts
    )
