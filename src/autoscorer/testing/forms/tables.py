"""Tables with an id in every row, CSV or JSON, on both sides."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from autoscorer.reading.source import Role
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.testing.case import Case
from autoscorer.testing.forms import MAX_ENTRIES, Form, Variant
from autoscorer.testing.table import Row, Table, is_number, same_meaning

ODD_NUMBERS = ("nan", "inf", "-inf", "1e999", "abc")
HUGE = "1e308"


def recognise(card: ScorerCard, case: Case) -> Form | None:
    """The form of ``case`` if both sides are tables with the same ids."""
    found = []
    for role in Role:
        name = case.name_of(card, role)
        table = None if name is None else Table.read(name, case.files(role)[name])
        if table is None:
            return None
        found.append(table)
    truth, delivered = found
    return Tables(card, case, truth, delivered) if set(truth.ids) == set(delivered.ids) else None


class Tables(Form):
    """Both sides in the order of the truth, at most `MAX_ENTRIES` rows of them.

    ``columns`` are the predicted ones and the truth's that hold the same; ``right`` predicts the truth.
    """

    def __init__(self, card: ScorerCard, case: Case, truth: Table, delivered: Table) -> None:
        row_of = dict(zip(delivered.ids, delivered.rows, strict=True))
        self.table = truth.having(truth.rows[:MAX_ENTRIES])
        self.delivered = delivered.having(row_of[name] for name in self.table.ids)
        self.columns = same_meaning(truth, delivered)
        self.values = {column: self.table.distinct(own) for column, own in self.columns.items()}
        self.numeric = all(is_number(value) for values in self.values.values() for value in values)
        pairs = zip(self.delivered.rows, self.table.rows, strict=True)
        self.right = self.delivered.having(
            {**row, **{column: true[own] for column, own in self.columns.items()}} for row, true in pairs
        )
        super().__init__(card, case)
        self.case = self._having(self.table, self.delivered)

    def truth(self) -> Case | None:
        if self.case.perfect is not None:
            return super().truth()
        return self._predicting(self.right.rows) if self.columns else None

    def worse(self) -> Iterator[Variant]:
        yield from super().worse()
        if not self.columns:
            return
        rows = list(self.right.rows)
        wrong = [self._changed(row, self._next) for row in rows]
        yield self._predicted("every row is wrong", wrong)
        yield self._predicted(
            "large and small are exchanged", [self._changed(row, self._mirror) for row in rows]
        )
        for place in sorted({0, len(rows) // 2, len(rows) - 1}):
            changed = [*rows[:place], wrong[place], *rows[place + 1 :]]
            yield self._predicted(f"only row {place + 1} is wrong", changed)
        for row in {rows[0]["id"]: rows[0], rows[-1]["id"]: rows[-1]}.values():
            same = [{**row, "id": other["id"]} for other in rows]
            yield self._predicted(f"all rows are predicted as that of id {row['id']}", same)

    def reordered(self) -> Iterator[Variant]:
        for what, order in _orders(len(self.table.rows)):
            moved, moved_truth = (
                table.having(table.rows[place] for place in order) for table in (self.delivered, self.table)
            )
            yield Variant(what=f"the predictions {what}", case=self._having(self.table, moved))
            case = self._having(moved_truth, self.delivered)
            yield Variant(what=f"the truth {what}", case=case, role=Role.REFERENCE, exact=False)

    def odd(self) -> Iterator[Variant]:
        case = self._having(self.table.having(self.table.rows[:1]), self.right.having(self.right.rows[:1]))
        yield Variant(what="there is one row, predicted right", case=case, role=Role.REFERENCE)
        if not self.columns:
            return
        yield from self._constant("every row has the same truth", lambda column: self.values[column][0])
        if self.numeric:
            yield from self._constant("every row's truth is 0", lambda column: self._like(column, 0))
            yield self._predicted(
                f"a row is predicted as {HUGE}", self._first(dict.fromkeys(self.columns, HUGE))
            )

    def faulty(self) -> Iterator[Variant]:
        yield from super().faulty()
        yield from self._faulty_rows()
        for column in self.columns:
            yield self._predicted(f"the first row's {column} is empty", self._first({column: ""}))
            yield self._predicted(f"there is no column {column}", _without(self.right, column))
            for text in ODD_NUMBERS if self.numeric else ():
                yield self._predicted(f"the first row's {column} is {text!r}", self._first({column: text}))
        yield from self._faulty_truth()

    def _faulty_rows(self) -> Iterator[Variant]:
        name, rows = self.delivered.name, list(self.right.rows)
        case = self.case.with_file(Role.PREDICTION, name, self.delivered.header())
        yield Variant(what=f"{name}: there is no row", case=case)
        if len(rows) > 1:
            yield self._predicted("the row of the first id is missing", rows[1:])
        yield self._predicted("the first row's id is empty", self._first({"id": ""}))
        yield self._predicted("the first id has two rows", [*rows, self._changed(rows[0], self._next)])
        extra = [*rows, {**rows[0], "id": f"{rows[0]['id']}-unknown"}]
        yield replace(self._predicted("a row has an id that the truth has not", extra), scorable=True)

    def _faulty_truth(self) -> Iterator[Variant]:
        name, rows = self.table.name, self.table.rows
        contents = {"there is no row": self.table.header()}
        contents["the first id has two rows"] = self.table.having([*rows, rows[0]]).encode()
        for column in self.columns.values():
            contents[f"there is no column {column}"] = self.table.having(
                _without(self.table, column)
            ).encode()
        for what, content in contents.items():
            case = self.case.with_file(Role.REFERENCE, name, content)
            yield Variant(what=f"{name}: {what}", case=case, role=Role.REFERENCE)

    def _constant(self, what: str, value: Callable[[str], Any]) -> Iterator[Variant]:
        """The same truth everywhere, predicted right and predicted wrong."""
        truth = [
            {**row, **{own: value(name) for name, own in self.columns.items()}} for row in self.table.rows
        ]
        right = [self._changed(row, lambda column, _: value(column)) for row in self.right.rows]
        wrong = [self._changed(row, self._next) for row in right]
        for predicted, rows in (("predicted right", right), ("predicted wrong", wrong)):
            case = self._having(self.table.having(truth), self.right.having(rows))
            yield Variant(what=f"{what}, {predicted}", case=case, role=Role.REFERENCE)

    def _changed(self, row: Row, change: Callable[[str, Any], Any]) -> Row:
        return {**row, **{column: change(column, row[column]) for column in self.columns}}

    def _first(self, change: Row) -> list[Row]:
        return [{**self.right.rows[0], **change}, *self.right.rows[1:]]

    def _next(self, column: str, value: Any) -> Any:
        """Another value of the truth, or of its kind if there is only one."""
        values = self.values[column]
        if len(values) > 1:
            return values[(values.index(value) + 1) % len(values)] if value in values else values[-1]
        return self._like(column, float(value) + 1) if is_number(value) else f"{value}_"

    def _mirror(self, column: str, value: Any) -> Any:
        values = self.values[column]
        return values[-1 - values.index(value)]

    def _like(self, column: str, number: float) -> Any:
        return str(number) if isinstance(self.values[column][0], str) else number

    def _having(self, truth: Table, delivered: Table) -> Case:
        case = self.case.with_file(Role.REFERENCE, truth.name, truth.encode())
        return case.with_file(Role.PREDICTION, delivered.name, delivered.encode())

    def _predicted(self, what: str, rows: Iterable[Row]) -> Variant:
        return Variant(what=f"{self.delivered.name}: {what}", case=self._predicting(rows))

    def _predicting(self, rows: Iterable[Row]) -> Case:
        return self._having(self.table, self.delivered.having(rows))


def _without(table: Table, column: str) -> list[Row]:
    return [{key: value for key, value in row.items() if key != column} for row in table.rows]


def _orders(n: int) -> Iterator[tuple[str, list[int]]]:
    yield "backwards", list(range(n))[::-1]
    for seed in (1, 2):
        yield f"shuffled (seed {seed})", random.Random(seed).sample(range(n), n)  # noqa: S311 - no secret
