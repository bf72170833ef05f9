"""Which labels are taken for which, and rows that show it. Class: sums (tables of row ranges add up)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscorer.metrics.classification import BLOCK_ROWS, IntArray, LabelCounts, count_labels

# A table of 256 by 256 labels has 512 KiB and stays in the cache; a pair of labels fits 16 bits.
MOST_LABELS_IN_FULL = 256
Table = NDArray[np.int64]


@dataclass(frozen=True)
class Confusion:
    """``rows[i, j]`` rows truly have the label ``codes[i]`` and were predicted as ``codes[j]``.

    If there are more labels than ``codes``, a last row and a last column are all the others together.
    """

    codes: Table
    rows: Table
    other_labels: int


def count_confusions(
    y_true: IntArray, y_pred: IntArray, n_labels: int, *, most_labels: int
) -> tuple[LabelCounts, Confusion]:
    """Count codes (0 ≤ code < n_labels) of two arrays of equal length, as `count_labels` and by pair.

    Shown are the ``most_labels`` labels with most true rows; of equal ones those predicted more often, then
    those of lower code. So no label that is only predicted takes the place of a true one.
    """
    if n_labels <= MOST_LABELS_IN_FULL:
        full = _count_pairs(y_true, y_pred, np.arange(n_labels, dtype=np.uint16), n_labels)
        # One pass over pairs takes a third of the time of three over labels.
        counts = LabelCounts(full.diagonal().copy(), full.sum(axis=1), full.sum(axis=0))
        codes = _most_frequent(counts, most_labels)
        position = _positions(codes, n_labels)
        rows = np.zeros((len(codes) + 1,) * 2, dtype=np.int64)
        np.add.at(rows, (position[:, None], position[None, :]), full)
    else:
        counts = count_labels(y_true, y_pred, n_labels)
        codes = _most_frequent(counts, most_labels)
        rows = _count_pairs(y_true, y_pred, _positions(codes, n_labels), len(codes) + 1)
    other_labels = n_labels - len(codes)
    return counts, Confusion(codes, rows if other_labels else rows[:-1, :-1], other_labels)


def wrong_rows(y_true: IntArray, y_pred: IntArray, counts: LabelCounts, *, most: int) -> Table:
    """Positions of at most ``most`` rows that are predicted wrong, ascending.

    They are shared among the labels, those with most wrong rows first: each gets as many, the first there
    are, but at least 20 while there are any left to give.
    """
    room = _room_per_label(counts.true - counts.correct, most)
    left = int(room.sum())
    chosen: list[Table] = []
    for start in range(0, len(y_true), BLOCK_ROWS):
        if not left:
            break
        truth = y_true[start : start + BLOCK_ROWS]
        wrong = np.flatnonzero(truth != y_pred[start : start + BLOCK_ROWS])
        wrong = wrong[room[truth[wrong]] > 0]
        first = wrong[_rank_in_group(truth[wrong]) < room[truth[wrong]]]
        np.subtract.at(room, truth[first], 1)
        left -= len(first)
        chosen.append(first + start)
    return np.concatenate([np.zeros(0, dtype=np.int64), *chosen])


def _room_per_label(wrong: Table, most: int, *, least_each: int = 20) -> Table:
    """How many rows of each label may be shown."""
    n_wrong = int(np.count_nonzero(wrong))
    each = max(least_each, most // max(n_wrong, 1))
    labels = np.lexsort((np.arange(len(wrong)), -wrong))[: max(1, most // each)]
    room = np.zeros(len(wrong), dtype=np.int64)
    room[labels] = np.minimum(wrong[labels], each)
    return room


def _rank_in_group(groups: IntArray) -> Table:
    """For each element how many equal ones stand before it."""
    order = np.argsort(groups, kind="stable")
    in_order = groups[order]
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = np.arange(len(groups)) - np.searchsorted(in_order, in_order, side="left")
    return rank


def _most_frequent(counts: LabelCounts, most: int) -> Table:
    codes = np.lexsort((np.arange(len(counts.true)), -counts.predicted, -counts.true))
    return np.sort(codes[:most])


def _positions(codes: Table, n_labels: int) -> NDArray[np.uint16]:
    """For each label its place among ``codes``; behind the last for any other."""
    position = np.full(n_labels, len(codes), dtype=np.uint16)
    position[codes] = np.arange(len(codes))
    return position


def _count_pairs(y_true: IntArray, y_pred: IntArray, position: NDArray[np.uint16], width: int) -> Table:
    counts = np.zeros(width * width, dtype=np.int64)
    is_code = len(position) == width
    for start in range(0, len(y_true), BLOCK_ROWS):
        truth, delivered = y_true[start : start + BLOCK_ROWS], y_pred[start : start + BLOCK_ROWS]
        if is_code:
            pairs = truth.astype(np.uint16) * width + delivered.astype(np.uint16)
        else:
            pairs = position[truth] * width + position[delivered]
        counts += np.bincount(pairs, minlength=width * width)
    return counts.reshape(width, width)
