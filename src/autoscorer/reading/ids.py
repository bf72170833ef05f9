"""Ids: unique within a table, and the same on both sides. They are compared as text."""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from autoscorer.reading.source import Role, Source
from autoscorer.reading.table import Table
from autoscorer.reading.text import SHOWN_OFFENDERS, shown
from autoscorer.utils.errors import AutoscorerError

# A hint compares at most so many missing ids with the extra ones.
HINTED_IDS = 10_000


def positions(table: Table) -> dict[str, int]:
    """Each id to its row. Raises AutoscorerError BAD_FORMAT for empty and for repeated ids."""
    row_of = dict(zip(table.ids, range(len(table.ids)), strict=True))
    if "" in row_of:
        empty = [row for row, name in enumerate(table.ids) if not name]
        raise table.fault(empty, [""], "the id is empty", "an id in every row")
    if len(row_of) != len(table.ids):
        first: dict[str, int] = {}
        repeated = [row for row, name in enumerate(table.ids) if first.setdefault(name, row) != row]
        names = [table.ids[row] for row in repeated]
        raise table.fault(repeated, names, "the id stands in an earlier row too", "every id once")
    return row_of


def check_same_ids(
    reference: Collection[str],
    prediction: Mapping[str, object],
    source: Source | None,
    place: Callable[[str], tuple[str, int]] | None = None,
) -> None:
    """Nothing, if both sides have the same ids (both are free of duplicates).

    Raises AutoscorerError BAD_FORMAT, blamed on the prediction, with the first ids that are missing
    and extra, and a hint where two of them differ only in form (``01`` and ``1``). ``place`` tells where a
    delivered id stands: ``("line", 7)``.
    """
    missing = [name for name in reference if name not in prediction]
    if not missing and len(prediction) == len(reference):
        return
    known = set(reference)
    extra = [name for name in prediction if name not in known]
    told = [_told("missing", missing)] if missing else []
    told += [_told("not in the reference", extra)] if extra else []
    details: dict[str, Any] = {
        "offenders": (missing[:SHOWN_OFFENDERS] + extra[:SHOWN_OFFENDERS])[: 2 * SHOWN_OFFENDERS],
        "missing_count": len(missing),
        "extra_count": len(extra),
        "expected": f"one row for each of the {len(reference)} ids of the reference",
        "example": _example(reference, source),
    }
    name = source.name if source else "the predictions"
    if extra and place is not None:
        unit, number = place(extra[0])
        told[-1] += f" (first in {unit} {number})"
        details[unit] = number
    message = f"{name}: {'; '.join(told)}{_same_but_for_form(missing, extra)}"
    if source is None:
        raise AutoscorerError("BAD_FORMAT", message, details, cause=Role.PREDICTION)
    raise source.fault("BAD_FORMAT", message, details)


def _example(reference: Collection[str], source: Source | None) -> str:
    """The first rows as the delivered file's format wants them."""
    names = list(itertools.islice(reference, 2))
    if source is not None and source.name.endswith(".json"):
        return json.dumps([{"id": name, "label": "…"} for name in names], ensure_ascii=False)
    return "id,label\n" + "".join(f"{name},…\n" for name in names)


def _told(what: str, names: Sequence[str]) -> str:
    first = ", ".join(shown(name) for name in names[:SHOWN_OFFENDERS])
    ids = "1 id is" if len(names) == 1 else f"{len(names)} ids are"
    return f"{ids} {what}: {first}{', …' if len(names) > SHOWN_OFFENDERS else ''}"


def _same_but_for_form(missing: Sequence[str], extra: Sequence[str]) -> str:
    """A hint when a missing and an extra id mean the same to a reader, but are not the same text."""
    by_form = {_plain_form(name): name for name in missing[:HINTED_IDS]}
    for name in extra[:HINTED_IDS]:
        twin = by_form.get(_plain_form(name))
        if twin is not None:
            return f". Ids are compared as text: {shown(name)} is not {shown(twin)}"
    return ""


def _plain_form(name: str) -> str:
    """Without spaces, leading zeros, a trailing ``.0``, case and compatibility variants."""
    return unicodedata.normalize("NFKC", name).strip().casefold().removesuffix(".0").lstrip("0")
