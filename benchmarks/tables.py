"""Tables of ten million rows: macro F1 and RMSE, against reading the files and against usual scripts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.harness import Comparison, Row, cached, compare

ROWS = 10_000_000
LABELS = ("airplane", "bird", "boat", "car", "cat", "dog", "horse", "person", "sheep", "truck")
AUTOSCORER = str(Path(sys.executable).with_name("autoscorer"))

# The least that any scorer does: polars' own reading of both files, with its default settings.
READ_BOTH = """
import sys
import polars as pl
truth, delivered = pl.read_csv(sys.argv[1]), pl.read_csv(sys.argv[2])
assert truth.height == delivered.height
"""
# How a competition's scoring script usually looks.
AS_MOST_WRITE_IT = """
import sys
import pandas as pd
from sklearn.metrics import f1_score
truth, delivered = pd.read_csv(sys.argv[1]), pd.read_csv(sys.argv[2])
both = truth.merge(delivered, on="id", suffixes=("_true", "_pred"), validate="one_to_one")
assert len(both) == len(truth)
labels = sorted(set(both.label_true) | set(both.label_pred))
print(f1_score(both.label_true, both.label_pred, average="macro"))
print(f1_score(both.label_true, both.label_pred, average=None, labels=labels))
"""
# The same with small types and numbers instead of names.
TUNED_BY_HAND = """
import sys
import pandas as pd
from sklearn.metrics import f1_score
options = {"usecols": ["id", "label"], "dtype": {"id": "int64", "label": "category"}}
truth, delivered = (pd.read_csv(path, **options) for path in sys.argv[1:3])
both = truth.merge(delivered, on="id", suffixes=("_true", "_pred"), validate="one_to_one")
assert len(both) == len(truth) == len(delivered)
names = both.label_true.cat.categories.union(both.label_pred.cat.categories)
codes = [both[side].cat.set_categories(names).cat.codes.to_numpy() for side in ("label_true", "label_pred")]
per_label = f1_score(*codes, average=None, labels=range(len(names)))
print(per_label.mean(), per_label)
"""
# The best we could do with pandas: rows moved instead of merged, one table of counts instead of scikit-learn.
TUNED_FURTHER = """
import sys
import numpy as np, pandas as pd
options = {"usecols": ["id", "label"], "dtype": {"id": "int64", "label": "category"}}
truth, delivered = (pd.read_csv(path, **options).set_index("id") for path in sys.argv[1:3])
assert truth.index.is_unique and delivered.index.is_unique and len(truth) == len(delivered)
delivered = delivered.reindex(truth.index)
assert delivered.label.notna().all()
names = truth.label.cat.categories.union(delivered.label.cat.categories)
codes = [side.label.cat.set_categories(names).cat.codes.to_numpy("int64") for side in (truth, delivered)]
counts = np.bincount(codes[0] * len(names) + codes[1], minlength=len(names) ** 2).reshape(len(names), -1)
per_label = 2 * counts.diagonal() / (counts.sum(0) + counts.sum(1))
print(per_label.mean(), per_label)
"""


def rows() -> Iterator[Row]:
    """Whole processes; ours with strict checks and the SHA-256 of both files."""
    folder = cached("tables", generate)
    shuffled, ordered = ("labels.csv", "labels_shuffled.csv"), ("labels.csv", "labels_ordered.csv")
    numbers = ("numbers.csv", "numbers_shuffled.csv")
    yield row(folder, "macro F1, ids shuffled", shuffled, "polars reading both files", READ_BOTH, aim=2.5)
    yield row(folder, "macro F1, ids in order", ordered, "polars reading both files", READ_BOTH, aim=2.0)
    # One pair: this takes minutes.
    usual = "pandas and scikit-learn as most write it"
    yield row(folder, "macro F1, ids shuffled", shuffled, usual, AS_MOST_WRITE_IT, aim=1 / 60, pairs=1)
    tuned = "pandas and scikit-learn tuned by hand"
    yield row(folder, "macro F1, ids shuffled", shuffled, tuned, TUNED_BY_HAND, aim=1 / 4, pairs=3)
    further = "pandas and numpy tuned further"
    yield row(folder, "macro F1, ids shuffled", shuffled, further, TUNED_FURTHER, aim=None, pairs=3)
    yield row(folder, "RMSE, ids shuffled", numbers, "polars reading both files", READ_BOTH, aim=2.0)


def row(
    folder: Path,
    work: str,
    files: tuple[str, str],
    against: str,
    program: str,
    *,
    aim: float | None,
    pairs: int = 5,
) -> Row:
    reference, predictions = (str(folder / name) for name in files)
    scorer = "regression_rmse" if work.startswith("RMSE") else "classification_f1"
    ours = [AUTOSCORER, "score", "--reference", reference, "--predictions", predictions, "--scorer", scorer]
    other = [sys.executable, "-c", program, reference, predictions]
    comparison = compare([*ours, "--json"], other, pairs)
    return Row(
        work=f"{work}, {ROWS:,} rows",
        against=against,
        comparison=comparison,
        aim=aim,
        note="" if against.startswith("polars") else memory_note(comparison),
    )


def memory_note(comparison: Comparison) -> str:
    less = comparison.ours_peak_bytes < comparison.other_peak_bytes
    return f"with {'less' if less else 'more'} memory"


def generate(folder: Path) -> None:
    """Ids 0 … n-1; four of five labels right; numbers with all their digits."""
    import polars as pl

    rng = np.random.default_rng(0)
    ids, order = np.arange(ROWS), rng.permutation(ROWS)
    names = np.array(LABELS)
    true = rng.integers(0, len(names), ROWS)
    guessed = np.where(rng.random(ROWS) < 0.8, true, rng.integers(0, len(names), ROWS))
    tables = {
        "labels": (ids, names[true]),
        "labels_ordered": (ids, names[guessed]),
        "labels_shuffled": (order, names[guessed[order]]),
    }
    numbers = rng.normal(0, 10, ROWS)
    near = numbers + rng.normal(0, 1, ROWS)
    tables |= {"numbers": (ids, numbers), "numbers_shuffled": (order, near[order])}
    for name, (id_column, label_column) in tables.items():
        pl.DataFrame({"id": id_column, "label": label_column}).write_csv(folder / f"{name}.csv")
