"""Which labels are taken for which, and the rows that show it: against scikit-learn and a plain loop."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from autoscorer.metrics import confusion
from autoscorer.metrics.classification import count_labels
from autoscorer.metrics.confusion import count_confusions, wrong_rows

LABELS = 6
codes = st.integers(0, LABELS - 1)
rows = st.lists(st.tuples(codes, codes), min_size=1, max_size=60)


@given(rows, st.booleans())
def test_the_table_of_all_labels_is_scikit_learns(pairs: list[tuple[int, int]], in_full: bool) -> None:
    y_true, y_pred = np.array(pairs, dtype=np.uint8).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confusion, "MOST_LABELS_IN_FULL", LABELS if in_full else 0)
        counts, found = count_confusions(y_true, y_pred, LABELS, most_labels=LABELS)
    assert (found.rows == confusion_matrix(y_true, y_pred, labels=range(LABELS))).all()
    assert found.other_labels == 0
    expected = count_labels(y_true, y_pred, LABELS)
    for name in ("correct", "true", "predicted"):
        assert (getattr(counts, name) == getattr(expected, name)).all()


@given(rows, st.booleans())
def test_labels_beyond_the_bound_are_one_row_and_one_column(
    pairs: list[tuple[int, int]], in_full: bool
) -> None:
    y_true, y_pred = np.array(pairs, dtype=np.uint32).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confusion, "MOST_LABELS_IN_FULL", LABELS if in_full else 0)
        _, found = count_confusions(y_true, y_pred, LABELS, most_labels=2)
    true, predicted = Counter(y_true.tolist()), Counter(y_pred.tolist())
    shown = sorted(sorted(range(LABELS), key=lambda code: (-true[code], -predicted[code], code))[:2])
    assert found.codes.tolist() == shown
    assert found.other_labels == LABELS - 2
    place = {code: shown.index(code) if code in shown else 2 for code in range(LABELS)}
    folded = confusion_matrix([place[a] for a, _ in pairs], [place[b] for _, b in pairs], labels=range(3))
    assert (found.rows == folded).all()


def test_a_label_that_is_only_predicted_takes_no_true_labels_place() -> None:
    y_true, y_pred = np.array([0, 1] + [2] * 9), np.array([3] * 11)
    assert count_confusions(y_true, y_pred, 4, most_labels=3)[1].codes.tolist() == [0, 1, 2]


@given(rows, st.integers(1, 80), st.sampled_from([1, 7, 65_536]))
def test_each_wrong_label_shows_its_first_rows(
    pairs: list[tuple[int, int]], most: int, block_rows: int
) -> None:
    y_true, y_pred = np.array(pairs, dtype=np.uint8).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confusion, "BLOCK_ROWS", block_rows)
        found = wrong_rows(y_true, y_pred, count_labels(y_true, y_pred, LABELS), most=most).tolist()
    wrong = Counter(a for a, b in pairs if a != b)
    each = max(20, most // max(len(wrong), 1))
    asked = sorted(wrong, key=lambda code: (-wrong[code], code))[: max(1, most // each)]
    seen: Counter[int] = Counter()
    expected = []
    for row, (true, predicted) in enumerate(pairs):
        if true != predicted and true in asked and seen[true] < each:
            seen[true] += 1
            expected.append(row)
    assert found == expected


def test_a_rare_label_at_the_end_of_a_sorted_truth_is_shown_too() -> None:
    y_true = np.array([0] * 100_000 + [1])
    y_pred = np.full(len(y_true), 2)
    found = wrong_rows(y_true, y_pred, count_labels(y_true, y_pred, 3), most=1_000)
    assert found.tolist() == [*range(500), 100_000]
