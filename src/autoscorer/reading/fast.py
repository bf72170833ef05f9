"""The fast reader: large, plainly regular CSV by polars. Whatever is not goes to the strict reader.

It answers with what the strict reader would answer, or not at all: it never names a fault and never
decides that something irregular is fine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autoscorer.reading.aligned import AlignedLabels, AlignedValues
from autoscorer.reading.cache import references
from autoscorer.reading.matching import Pieces, aligned
from autoscorer.reading.regular import RegularCsv
from autoscorer.reading.table import ID, LABELS, VALUES, Columns

COLUMN = "column"
# Makes the type of one file's column.
Kind = Callable[[], pl.DataType]
# The grammar of `table.parse_numbers` for the regex engine of polars.
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class _Labels:
    """A categorical type with categories of its own.

    The global ones would keep every label of every file ever read together, and categories that both
    files share would bring a prediction's labels into a reference that is kept for the next one.
    """

    physical: type[pl.DataType]

    def __call__(self) -> pl.DataType:
        return pl.Categorical(pl.Categories.random(physical=self.physical))


def align_labels(reference: RegularCsv, prediction: RegularCsv) -> AlignedLabels | None:
    """`align.load_labels` for two plainly regular files; None hands over to the strict reader."""
    # One byte a label is a tenth faster than four; more than 256 labels do not fit.
    for physical in (pl.UInt8, pl.UInt32):
        frames = _both((reference, prediction), LABELS, _Labels(physical))
        if frames is not None:
            return _aligned_labels(frames)
    return None


def _aligned_labels(frames: list[pl.DataFrame]) -> AlignedLabels | None:
    labels, codes = _label_codes([frame[COLUMN] for frame in frames])
    tables = [
        _pieces(frame, [code[piece] for piece in _arrays(frame[COLUMN].to_physical())])
        for frame, code in zip(frames, codes, strict=True)
    ]
    columns = aligned(*tables, hole=len(labels))
    return None if columns is None else AlignedLabels(labels, *columns, partial(_ids_of, frames[0][ID]))


def align_values(reference: RegularCsv, prediction: RegularCsv) -> AlignedValues | None:
    """`align.load_values` for two plainly regular files; None hands over to the strict reader."""
    files = (reference, prediction)
    # polars skips blanks before a number; as texts the numbers can be checked for them.
    has_blanks = any(file.has_blanks for file in files)
    frames = _both(files, VALUES, pl.String if has_blanks else pl.Float64)
    if frames is None:
        return None
    tables = []
    for frame in frames:
        values = _finite(frame[COLUMN])
        if values is None:
            return None
        tables.append(_pieces(frame, values))
    columns = aligned(*tables, hole=np.nan)
    return None if columns is None else AlignedValues(*columns, partial(_ids_of, frames[0][ID]))


def _both(files: tuple[RegularCsv, RegularCsv], wanted: Columns, kind: Kind) -> list[pl.DataFrame] | None:
    """Both tables: ids (integers whose texts are all canonical, or String) and the column, no nulls."""
    if files[0].rows != files[1].rows or not files[0].rows:
        return None
    reference, prediction = files

    def parse_reference() -> pl.DataFrame | None:
        name = f"fast {wanted} {kind}"
        return references.parsed(reference.content, name, lambda: _parsed(reference, wanted, kind()), _weight)

    # polars leaves a core idle while it looks for line ends: two files at once use it.
    with ThreadPoolExecutor(1) as pool:
        truth = pool.submit(parse_reference)
        delivered = _parsed(prediction, wanted, kind())
        parsed = [truth.result(), delivered]
    frames = [frame for frame in parsed if frame is not None]
    if len(frames) < 2:
        return None
    if any(frame[ID].dtype == pl.String for frame in frames):
        # The integers are canonical: their text is what was written.
        frames = [frame.with_columns(pl.col(ID).cast(pl.String)) for frame in frames]
    return frames


def _parsed(file: RegularCsv, wanted: Columns, dtype: pl.DataType) -> pl.DataFrame | None:
    present = [name for name in wanted.one_of if name in file.header]
    if len(present) != 1 or ID not in file.header:
        return None
    id_at, column_at = file.header.index(ID), file.header.index(present[0])
    kinds: list[pl.DataType] = [pl.String()]
    if id_at == 0 and file.starts_with_integers:
        kinds = [pl.Int32(), pl.Int64(), pl.String()]
    for kind in kinds:
        frame = _read(file, {id_at: kind, column_at: dtype})
        if frame is not None and frame.height == file.rows and not sum(frame.null_count().row(0)):
            return frame.select(pl.col(_name(id_at)).alias(ID), pl.col(_name(column_at)).alias(COLUMN))
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


def _label_codes(
    columns: list[pl.Series],
) -> tuple[tuple[str, ...], list[NDArray[np.unsignedinteger[Any]]]]:
    """The labels, sorted, and for each column and physical code of a category the code of its label.

    Physical codes come in the order in which the threads met the labels; some may have none.
    """
    sides = [list(_categories(column)) for column in columns]
    labels = sorted({name for names in sides for name in names if name is not None})
    code_of = {label: code for code, label in enumerate(labels)}
    kind = np.min_scalar_type(len(labels))
    codes = [[0 if name is None else code_of[name] for name in names] for names in sides]
    return tuple(labels), [np.array(side, dtype=kind) for side in codes]


def _categories(column: pl.Series) -> pl.Categories:
    assert isinstance(column.dtype, pl.Categorical)
    return column.dtype.categories


def _weight(frame: pl.DataFrame | None) -> int:
    return 0 if frame is None else int(frame.estimated_size())


def _finite(column: pl.Series) -> list[NDArray[np.float64]] | None:
    """The numbers, None when one of them is no plain finite number."""
    if column.dtype == pl.String:
        if not column.str.contains(_NUMBER).all():
            return None
        column = column.cast(pl.Float64)
    pieces = _arrays(column)
    return pieces if all(bool(np.isfinite(piece).all()) for piece in pieces) else None


def _ids_of(ids: pl.Series, rows: Sequence[int]) -> list[str]:
    """Integers are canonical: their text is what was written."""
    return [str(name) for name in ids.gather(list(rows))] if rows else []


def _pieces(frame: pl.DataFrame, column: list[NDArray[Any]]) -> Pieces:
    if frame[ID].dtype == pl.String:
        return Pieces(frame[ID], column)
    ids = _arrays(frame[ID])
    if list(map(len, ids)) == list(map(len, column)):
        return Pieces(ids, column)
    return Pieces([np.concatenate(ids)], [np.concatenate(column)])


def _arrays(series: pl.Series) -> list[NDArray[Any]]:
    """The pieces that polars holds, none of them copied."""
    return [piece.to_numpy() for piece in series.get_chunks() if len(piece)]
