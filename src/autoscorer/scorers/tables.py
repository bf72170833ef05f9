"""CSV tables that a scorer hands over: bounded in bytes and in the length of a text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from autoscorer.schemas.result import Artifact

MOST_CHARACTERS = 1_000
MOST_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table to hand over: ``rows``, perhaps a part of the ``rows_in_all`` that there are."""

    header: Sequence[str]
    rows: Iterable[Sequence[Any]]
    rows_in_all: int
    shows_truth: bool = True


class WriteArtifact(Protocol):
    """`BaseScorer._write_artifact`."""

    def __call__(
        self,
        workspace: Path,
        filename: str,
        content: bytes,
        /,
        *,
        shows_truth: bool,
        rows: int | None,
        rows_in_all: int | None,
    ) -> Artifact: ...


def write_tables(write: WriteArtifact, workspace: Path, tables: Mapping[str, Table]) -> dict[str, Artifact]:
    """Write each table as `artifacts/<name>.csv` and describe it; a cut one says how many rows it has."""
    artifacts = {}
    for name, table in tables.items():
        content, rows = csv_content(table)
        is_cut = rows < table.rows_in_all
        artifacts[name] = write(
            workspace,
            f"{name}.csv",
            content,
            shows_truth=table.shows_truth,
            rows=rows if is_cut else None,
            rows_in_all=table.rows_in_all if is_cut else None,
        )
    return artifacts


def csv_content(table: Table) -> tuple[bytes, int]:
    """UTF-8 CSV with LF, and how many rows it has: as many as 16 MiB hold; long texts are cut."""
    parts, size, n_rows = [_line(table.header)], 0, 0
    for row in table.rows:
        line = _line(row)
        size += len(line)
        if size > MOST_BYTES:
            break
        parts.append(line)
        n_rows += 1
    return b"".join(parts), n_rows


def _line(cells: Sequence[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow([_cell(cell) for cell in cells])
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MOST_CHARACTERS:
        return value[: MOST_CHARACTERS - 1] + "…"
    return value
