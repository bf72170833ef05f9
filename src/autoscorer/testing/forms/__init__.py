"""Forms of data: how a truth and its predictions can be altered and still be what they are.

A module here is one form: its function ``recognise`` says whether the files are of it. Files of no form are
tried whole: missing, empty, garbled.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, replace

from autoscorer.reading.source import Role
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.testing.case import Case

MAX_ENTRIES = 500


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The data altered. ``what`` says how; ``role`` is the side that was altered.

    ``exact``: the score must be the same to the last digit (of a row order). ``scorable``: a score as good as
    the truth's is fine (of a fault that does no harm).
    """

    what: str
    case: Case
    role: Role = Role.PREDICTION
    exact: bool = True
    scorable: bool = False


class Form:
    """Files whose inside is not known. Subclasses know more."""

    def __init__(self, card: ScorerCard, case: Case) -> None:
        self.card = card
        self.case = case

    def truth(self) -> Case | None:
        """Predictions that are right, None if nobody can tell which are."""
        return None if self.case.perfect is None else replace(self.case, predictions=self.case.perfect)

    def worse(self) -> Iterator[Variant]:
        """Predictions that differ from the truth."""
        yield Variant(what="the example's own predictions", case=self.case)

    def reordered(self) -> Iterator[Variant]:
        """The same data in another order."""
        yield from ()

    def odd(self) -> Iterator[Variant]:
        """Data that keep every rule and are unusual; ``role`` is to blame if they cannot be scored."""
        yield from ()

    def faulty(self) -> Iterator[Variant]:
        """Data that break a rule, on the side of ``role``."""
        for role in (Role.REFERENCE, Role.PREDICTION):
            name = self.case.name_of(self.card, role)
            if name is not None:
                contents = {"is missing": None, "is empty": b"", "is no text": b"\xff\xfe\x00\x9f\x00"}
                for what, content in contents.items():
                    case = self.case.with_file(role, name, content)
                    yield Variant(what=f"{name} {what}", case=case, role=role)


def find_form(card: ScorerCard, case: Case) -> Form:
    """The form of ``case`` by the first module here that recognises it."""
    for module in pkgutil.iter_modules(__path__):
        form: Form | None = importlib.import_module(f"{__name__}.{module.name}").recognise(card, case)
        if form is not None:
            return form
    return Form(card, case)
