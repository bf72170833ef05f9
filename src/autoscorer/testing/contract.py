"""What a contract is: a promise every scorer keeps, how it is checked, and how it ended."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from unittest import SkipTest

from autoscorer.testing import contracts
from autoscorer.testing.trial import Trial

Check = Callable[[Trial], None]


class BrokenContractError(AssertionError):
    """A scorer breaks a contract. ``why`` is what was seen, ``advice`` what to do, ``about`` the promise."""

    def __init__(self, why: str, advice: str, about: str = "") -> None:
        super().__init__("\n".join(part for part in (about, why, f"→ {advice}") if part))
        self.why = why
        self.advice = advice


class DoesNotApplyError(SkipTest):
    """A contract says nothing about this scorer, or about data of this form; pytest shows it as skipped."""


class Verdict(StrEnum):
    """How a contract ended."""

    KEPT = "kept"
    BROKEN = "broken"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One contract's end; ``why`` and ``advice`` are empty if it was kept."""

    contract: str
    about: str
    verdict: Verdict
    why: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Contract:
    """One promise of one scorer."""

    name: str
    about: str
    trial: Trial = field(repr=False)
    _check: Check = field(repr=False)

    @property
    def __name__(self) -> str:
        """What pytest calls it in a list of tests."""
        return self.name

    def __str__(self) -> str:
        return self.name

    def check(self) -> None:
        """Raises BrokenContractError (an AssertionError), or DoesNotApplyError (a skip)."""
        __tracebackhide__ = True  # pytest shows what the author has to know, and no line of ours
        ended = self.outcome()
        if ended.verdict is Verdict.BROKEN:
            raise BrokenContractError(ended.why, ended.advice, f"{self.about} Not so here:")
        if ended.verdict is Verdict.SKIPPED:
            raise DoesNotApplyError(ended.why)

    def outcome(self) -> Outcome:
        """How it ends, told instead of raised."""
        try:
            self._check(self.trial)
        except BrokenContractError as exc:
            return self._ended(Verdict.BROKEN, exc.why, exc.advice)
        except DoesNotApplyError as exc:
            return self._ended(Verdict.SKIPPED, str(exc))
        return self._ended(Verdict.KEPT)

    def _ended(self, verdict: Verdict, why: str = "", advice: str = "") -> Outcome:
        return Outcome(contract=self.name, about=self.about, verdict=verdict, why=why, advice=advice)


def all_contracts(trial: Trial) -> list[Contract]:
    """Every contract for ``trial``: one module of `contracts/` each, its first line says what it promises."""
    made = []
    for found in pkgutil.iter_modules(contracts.__path__):
        module = importlib.import_module(f"{contracts.__name__}.{found.name}")
        about = (module.__doc__ or "").split("\n", 1)[0]
        made.append(Contract(found.name, about, trial, module.check))
    return made
