"""Two delivered tables to aligned columns: rows matched by id, in the reference's order."""

from __future__ import annotations

import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from autoscorer.reading.cache import references
from autoscorer.reading.ids import check_same_ids, positions
from autoscorer.reading.source import Source
from autoscorer.reading.strict import read_csv
from autoscorer.reading.table import LABELS, VALUES, Columns, Table, check_texts, parse_numbers
from autoscorer.reading.tables_json import is_json, read_json_table

if TYPE_CHECKING:
    from autoscorer.reading.aligned import AlignedLabels, AlignedValues
    from autoscorer.reading.regular import RegularCsv

# Below this the strict reader is done before polars is imported (0.1 s).
FAST_READER_BYTES = 2**20
SAMPLED_ROWS = 1000
Contents = tuple[bytes, bytes]


def load_labels(reference: Source, prediction: Source) -> AlignedLabels:
    """Read both files and align ``label`` by ``id``.

    Raises AutoscorerError MISSING_FILE, PARSE_ERROR or BAD_FORMAT, blamed on the side at fault.
    """
    contents, regular = _read_both(reference, prediction)
    aligned = None
    if regular is not None:
        from autoscorer.reading.fast import align_labels

        aligned = align_labels(*regular)
    return strict_labels(reference, prediction, contents) if aligned is None else aligned


def load_values(reference: Source, prediction: Source) -> AlignedValues:
    """Read both files and align ``label`` (or ``value``), a number, by ``id``. Raises as `load_labels`."""
    contents, regular = _read_both(reference, prediction)
    aligned = None
    if regular is not None:
        from autoscorer.reading.fast import align_values

        aligned = align_values(*regular)
    return strict_values(reference, prediction, contents) if aligned is None else aligned


def strict_labels(reference: Source, prediction: Source, contents: Contents) -> AlignedLabels:
    """`load_labels` by the strict reader alone: the definition, and every fault."""
    import numpy as np

    from autoscorer.reading.aligned import AlignedLabels

    truth = _read_reference(contents[0], reference, LABELS)
    delivered = _read_table(contents[1], prediction, LABELS)
    order = _order(truth, delivered)
    names = sorted({*truth.texts, *delivered.texts})
    code = {name: number for number, name in enumerate(names)}
    y_true = np.array([code[text] for text in truth.texts], dtype=np.int32)
    y_pred = np.array([code[delivered.texts[row]] for row in order], dtype=np.int32)
    return AlignedLabels(tuple(names), y_true, y_pred, truth.ids_of)


def strict_values(reference: Source, prediction: Source, contents: Contents) -> AlignedValues:
    """`load_values` by the strict reader alone: the definition, and every fault."""
    import numpy as np

    from autoscorer.reading.aligned import AlignedValues

    truth = _read_reference(contents[0], reference, VALUES)
    y_true = references.parsed(
        contents[0],
        f"numbers of {_reader(reference, VALUES)}",
        lambda: np.array(parse_numbers(truth), dtype=np.float64),
        lambda numbers: int(numbers.nbytes),
    )
    delivered = _read_table(contents[1], prediction, VALUES)
    order = _order(truth, delivered)
    y_pred = np.array(parse_numbers(delivered), dtype=np.float64)
    return AlignedValues(y_true.copy(), y_pred[order], truth.ids_of)


def _read_both(
    reference: Source, prediction: Source
) -> tuple[Contents, tuple[RegularCsv, RegularCsv] | None]:
    """Both contents; and what the fast reader needs, if they are large, plainly regular CSV."""
    sources = (reference, prediction)
    if any(map(is_json, sources)) or max(map(_size_bytes, sources)) < FAST_READER_BYTES:
        return (reference.read(), prediction.read()), None
    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(source.read) for source in sources]
        # numpy and polars take as long to import as 200 MB to read; so both happen at once.
        importlib.import_module("autoscorer.reading.fast")
        from autoscorer.reading.regular import regular_csv

        contents = reading[0].result(), reading[1].result()
        truth, delivered = pool.map(regular_csv, contents)
    return contents, None if truth is None or delivered is None else (truth, delivered)


def _size_bytes(source: Source) -> int:
    try:
        return source.path.stat().st_size
    except OSError:
        return 0  # reading it names the fault


def _read_reference(content: bytes, reference: Source, wanted: Columns) -> Table:
    """The truth, its ids checked before the prediction is looked at: a fault here is the organiser's."""
    truth = references.parsed(
        content, _reader(reference, wanted), lambda: _parse_reference(content, reference, wanted), _weight
    )
    return replace(truth, source=reference)


def _parse_reference(content: bytes, reference: Source, wanted: Columns) -> Table:
    truth = _read_table(content, reference, wanted)
    if not truth.ids:
        details = {"expected": "at least one row", "example": wanted.example}
        raise reference.fault("BAD_FORMAT", f"{reference.name} has no rows", details)
    positions(truth)
    check_texts(truth)
    return truth


def _reader(reference: Source, wanted: Columns) -> str:
    return f"strict {'JSON' if is_json(reference) else 'CSV'} {wanted}"


def _weight(table: Table) -> int:
    """What the table holds in memory, about: two texts and two pointers a row."""
    texts = (*table.ids[:SAMPLED_ROWS], *table.texts[:SAMPLED_ROWS])
    mean = sum(map(sys.getsizeof, texts)) / len(texts)
    return int(len(table.ids) * 2 * (mean + 16))


def _order(truth: Table, delivered: Table) -> list[int]:
    """For each row of the truth the delivered row with the same id."""
    row_of = positions(delivered)
    check_same_ids(
        truth.ids,
        row_of,
        delivered.source,
        lambda name: (delivered.unit, delivered.places[row_of[name]]),
    )
    check_texts(delivered)
    return [row_of[name] for name in truth.ids]


def _read_table(content: bytes, source: Source, wanted: Columns) -> Table:
    return (read_json_table if is_json(source) else read_csv)(content, source, wanted)
