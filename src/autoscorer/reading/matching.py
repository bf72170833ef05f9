"""Rows of two large tables brought together by id."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

Ids = NDArray[np.signedinteger[Any]]
Column = NDArray[Any]
Index = NDArray[np.int64]
# A table of all ids between the least and the greatest is used while it has at most so many slots a row.
SLOTS_A_ROW = 4


@dataclass(frozen=True)
class Pieces:
    """A table in pieces that fit the cache: one column, and ids, which are integers or texts.

    Integers have the same pieces as the column; texts are one Series. No piece is empty.
    """

    ids: list[Ids] | pl.Series
    column: list[Column]


def aligned(reference: Pieces, prediction: Pieces, *, hole: float) -> tuple[Column, Column] | None:
    """Both columns in the reference's order; None unless each id stands exactly once on both sides.

    Both have the same number of rows, at least one, and the same kind of ids. ``hole`` is a value that
    no column holds (NaN for floats).
    """
    places = _places(reference, prediction)
    if places is None:
        return None
    y_true, y_pred = (_empty_column(reference.column) for _ in range(2))
    np.concatenate(reference.column, out=y_true)
    y_pred.fill(hole)
    for place, piece in zip(places, prediction.column, strict=True):
        y_pred[place] = piece
    # As many rows as places: one that got two values means another that got none.
    holes = np.isnan(y_pred) if np.isnan(hole) else y_pred == hole
    return None if holes.any() else (y_true, y_pred)


def _empty_column(pieces: Sequence[Column]) -> Column:
    """Zeros, as long as the pieces together.

    In memory of Python's: numpy asks for huge pages, which cost 0.3 s more for two columns of ten million
    floats on a virtual machine that has to find them first (measured).
    """
    dtype = pieces[0].dtype
    return np.frombuffer(bytearray(sum(map(len, pieces)) * dtype.itemsize), dtype)


def _places(reference: Pieces, prediction: Pieces) -> Iterable[Index] | None:
    """For each piece of the prediction rows of the reference with the same ids.

    None if an id is not there; two predictions may get the same row and leave another one without any.
    """
    truth, delivered = reference.ids, prediction.ids
    if not isinstance(truth, list) or not isinstance(delivered, list):
        return _places_by_join(_series(truth), _series(delivered), prediction.column)
    bounds = [(int(piece.min()), int(piece.max())) for piece in truth]
    low, high = min(bounds)[0], max(bound for _, bound in bounds)
    if any(piece.min() < low or piece.max() > high for piece in delivered):
        return None
    if _is_consecutive(truth, low):
        # numpy moves rows by 64-bit indexes; one piece of them at a time stays in the cache.
        return (np.subtract(piece, low, dtype=np.int64) for piece in delivered)
    ids = np.concatenate(truth)
    if bool((ids[1:] > ids[:-1]).all()) and np.array_equal(ids, np.concatenate(delivered)):
        return _split(np.arange(len(ids)), prediction.column)
    if high - low < SLOTS_A_ROW * len(ids):
        return _places_by_slot(ids, delivered, low, high)
    return _places_by_join(_series(truth), _series(delivered), prediction.column)


def _is_consecutive(pieces: Sequence[Ids], low: int) -> bool:
    """Whether the ids are ``low``, then one more each row."""
    due = low
    for piece in pieces:
        if not np.array_equal(piece, np.arange(due, due + len(piece))):
            return False
        due += len(piece)
    return True


def _places_by_slot(ids: Ids, delivered: Sequence[Ids], low: int, high: int) -> Sequence[Index] | None:
    row_of = np.full(high - low + 1, -1, dtype=np.int64)
    row_of[ids - low] = np.arange(len(ids))
    if np.count_nonzero(row_of >= 0) != len(ids):
        return None
    places = [row_of[piece - low] for piece in delivered]
    return places if min(map(np.min, places)) >= 0 else None


def _places_by_join(
    reference: pl.Series, prediction: pl.Series, column: Sequence[Column]
) -> Sequence[Index] | None:
    import polars as pl

    truth = pl.DataFrame({"id": reference, "row": np.arange(len(reference))})
    joined = pl.DataFrame({"id": prediction}).join(truth, on="id", how="left", maintain_order="left")
    # An id that stands twice in the reference makes the join longer, or leaves a hole if nobody has it.
    if joined.height != len(prediction) or joined["row"].null_count():
        return None
    return _split(joined["row"].to_numpy(), column)


def _split(rows: NDArray[np.int64], column: Sequence[Column]) -> Sequence[Index]:
    ends = itertools.accumulate(map(len, column))
    return [rows[end - len(piece) : end] for end, piece in zip(ends, column, strict=True)]


def _series(ids: list[Ids] | pl.Series) -> pl.Series:
    import polars as pl

    return pl.Series(np.concatenate(ids).astype(np.int64)) if isinstance(ids, list) else ids
