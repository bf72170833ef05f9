"""The tables of a classification: which labels are taken for which, one row a label, rows predicted wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from autoscorer.scorers.tables import Table

if TYPE_CHECKING:  # numpy is not imported until a scorer computes
    from autoscorer.metrics.classification import LabelCounts
    from autoscorer.metrics.confusion import Confusion
    from autoscorer.reading.aligned import AlignedLabels

# More of them nobody can look at.
MOST_LABELS = 50
MOST_WRONG_ROWS = 1_000


def label_tables(aligned: AlignedLabels, counts: LabelCounts, confusion: Confusion) -> dict[str, Table]:
    """``confusion_matrix``, ``per_label``, ``worst_cases``.

    The first shows the truth although it only counts: who predicts a label of its own for each row reads
    the true ones off the table.
    """
    return {
        "confusion_matrix": _confusion_matrix(aligned.labels, confusion),
        "per_label": _per_label(aligned.labels, counts),
        "worst_cases": _worst_cases(aligned, counts),
    }


def _confusion_matrix(labels: tuple[str, ...], confusion: Confusion) -> Table:
    names = [labels[code] for code in confusion.codes.tolist()]
    if confusion.other_labels:
        names.append(f"({confusion.other_labels} others)")
    rows = [[name, *counted] for name, counted in zip(names, confusion.rows.tolist(), strict=True)]
    return Table(header=["truth \\ predicted", *names], rows=rows, rows_in_all=len(rows))


def _per_label(labels: tuple[str, ...], counts: LabelCounts) -> Table:
    """A participant may have it: the metrics tell as much of each label."""
    header = ["label", "f1", "precision", "recall", "support"]
    n_rows = int((counts.true > 0).sum())
    return Table(header=header, rows=_label_rows(labels, counts), rows_in_all=n_rows, shows_truth=False)


def _label_rows(labels: tuple[str, ...], counts: LabelCounts) -> Iterator[list[Any]]:
    from autoscorer.metrics.classification import fbeta_per_label, precision_per_label, recall_per_label

    measures = (fbeta_per_label, precision_per_label, recall_per_label)
    f1, precision, recall = (measure(counts).tolist() for measure in measures)
    for code, support in enumerate(counts.true.tolist()):
        if support:
            yield [labels[code], f1[code], precision[code], recall[code], support]


def _worst_cases(aligned: AlignedLabels, counts: LabelCounts) -> Table:
    from autoscorer.metrics.confusion import wrong_rows

    positions = wrong_rows(aligned.y_true, aligned.y_pred, counts, most=MOST_WRONG_ROWS)
    sides = [[aligned.labels[code] for code in side[positions]] for side in (aligned.y_true, aligned.y_pred)]
    return Table(
        header=["id", "truth", "predicted"],
        rows=zip(aligned.ids_of(positions.tolist()), *sides, strict=True),
        rows_in_all=int((counts.true - counts.correct).sum()),
    )
