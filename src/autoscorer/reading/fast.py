"""The fast reader: large, plainly regular CSV by polars. Whatever is not goes to the strict reader.

It answers with what the strict reader would answer, or not at all: it never names a fault and never
decides that something irregular is fine.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autoscorer.reading.aligned import AlignedLabels, AlignedValues
from autoscorer.reading.matching import Index, match_rows, placed
from autoscorer.reading.regular import RegularCsv
from autoscorer.reading.table import ID, LABELS, VALUES, Columns

# The grammar of `table.parse_numbers` for the regex engine of polars.
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class _TwoColumns:
    """Ids (Int64 whose texts are all canonical, or String) and the wanted column, both without nulls."""

    ids: pl.Series
    column: pl.Series


def align_labels(reference: RegularCsv, prediction: RegularCsv) -> AlignedLabels | None:
    """`align.load_labels` for two plainly regular files; None hands over to the strict reader."""
    # Categories of our own: the global ones would keep every label of every file ever read together.
    categories = pl.Categories.random()
    found = _both(reference, prediction, LABELS, lambda _: pl.Categorical(categories))
    if found is None:
        return None
    truth, delivered, rows = found
    names = categories.to_series().to_list()
    order = sorted(range(len(names)), key=names.__getitem__)
    # From the categories' order of appearance, which varies with the threads, to that of the labels.
    code = np.empty(len(names), dtype=np.min_scalar_type(len(names)))
    code[order] = np.arange(len(names))
    y_pred = placed(code[delivered.column.to_physical().to_numpy()], rows, hole=len(names))
    if y_pred is None:
        return None
    y_true = code[truth.column.to_physical().to_numpy()]
    return AlignedLabels(tuple(names[number] for number in order), y_true, y_pred)


def align_values(reference: RegularCsv, prediction: RegularCsv) -> AlignedValues | None:
    """`align.load_values` for two plainly regular files; None hands over to the strict reader."""
    found = _both(
        reference, prediction, VALUES, lambda file: pl.String() if file.has_blanks else pl.Float64()
    )
    if found is None:
        return None
    truth, delivered, rows = found
    y_true, values = _finite(truth.column), _finite(delivered.column)
    y_pred = None if values is None else placed(values, rows, hole=np.nan)
    return None if y_true is None or y_pred is None else AlignedValues(y_true, y_pred)


def _both(
    reference: RegularCsv,
    prediction: RegularCsv,
    wanted: Columns,
    dtype: Callable[[RegularCsv], pl.DataType],
) -> tuple[_TwoColumns, _TwoColumns, Index] | None:
    if reference.rows != prediction.rows or not reference.rows:
        return None
    # polars leaves a core idle while it looks for line ends: two files at once use it.
    with ThreadPoolExecutor(2) as pool:
        parsed = pool.map(lambda file: _parsed(file, wanted, dtype(file)), (reference, prediction))
        truth, delivered = parsed
    if truth is None or delivered is None:
        return None
    if truth.ids.dtype != delivered.ids.dtype:
        # The integers are canonical: their text is what was written.
        truth, delivered = (
            _TwoColumns(table.ids.cast(pl.String), table.column) for table in (truth, delivered)
        )
    rows = match_rows(truth.ids, delivered.ids)
    return None if rows is None else (truth, delivered, rows)


def _parsed(file: RegularCsv, wanted: Columns, dtype: pl.DataType) -> _TwoColumns | None:
    present = [name for name in wanted.one_of if name in file.header]
    if len(present) != 1 or ID not in file.header:
        return None
    id_at, column_at = file.header.index(ID), file.header.index(present[0])
    kinds = [pl.Int64(), pl.String()] if id_at == 0 and file.starts_with_integers else [pl.String()]
    for kind in kinds:
        frame = _read(file, {id_at: kind, column_at: dtype})
        if frame is not None and frame.height == file.rows and not sum(frame.null_count().row(0)):
            return _TwoColumns(frame[_name(id_at)], frame[_name(column_at)])
    return None


def _read(file: RegularCsv, dtypes: dict[int, pl.DataType]) -> pl.DataFrame | None:
    """The columns at these positions, named by `_name`; None where polars cannot parse one."""
    schema = {_name(at): dtypes.get(at, pl.String()) for at in range(len(file.header))}
    try:
        return pl.read_csv(
            file.content,
            schema=schema,
            has_header=False,
            skip_lines=1,
            columns=[_name(at) for at in dtypes],
            quote_char=None,
            glob=False,
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None


def _name(position: int) -> str:
    """What polars calls a column of a file that it is told has no header."""
    return f"column_{position + 1}"


def _finite(column: pl.Series) -> NDArray[np.float64] | None:
    """The numbers, None when one of them is no plain finite number."""
    if column.dtype == pl.String:
        if not column.str.contains(_NUMBER).all():
            return None
        column = column.cast(pl.Float64)
    values = column.to_numpy()
    return values if bool(np.isfinite(values).all()) else None
