"""The contract suite's doors: for a scorer in pytest, and for one of an installation's catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from autoscorer.scorers.base import Scorer
from autoscorer.scorers.catalog import card_of
from autoscorer.scorers.content import scorer_sha256
from autoscorer.scorers.host import Code, Entry, InProcess, ScorerHost
from autoscorer.testing.case import Case
from autoscorer.testing.contract import Contract, Verdict, all_contracts
from autoscorer.testing.forms import find_form
from autoscorer.testing.trial import Trial
from autoscorer.testing.workspaces import open_workspace


def contracts_for(
    scorer: Scorer, *, workspace: str | Path | None = None, params: Mapping[str, Any] | None = None
) -> list[Contract]:
    """The contracts of a scorer, to be given to ``pytest.mark.parametrize``.

    They are tried on its ``example``, or on the truth and the `output/` of a workspace, with ``params``
    instead of those given there. Raises ValueError if there is neither.
    """
    card = card_of(scorer, name=scorer.name, origin="process", sha256=scorer_sha256(scorer))
    entry = Entry(card=card, code=Code(module=type(scorer).__module__), instance=scorer)
    if workspace is not None:
        with open_workspace(entry.card, Path(workspace), params) as data:
            return suite(entry, InProcess(), Case.of_view(card, data.view.root, data.params))
    if card.example is None:
        raise ValueError(f"{card.name} brings no example: add one to its class, or name a workspace")
    return suite(entry, InProcess(), Case.of_example(card.example, params))


def check_scorer(
    scorer: Scorer, *, workspace: str | Path | None = None, params: Mapping[str, Any] | None = None
) -> None:
    """All of `contracts_for` at once. Raises AssertionError that names every broken contract."""
    outcomes = [contract.outcome() for contract in contracts_for(scorer, workspace=workspace, params=params)]
    broken = [ended for ended in outcomes if ended.verdict is Verdict.BROKEN]
    if broken:
        told = "\n\n".join(f"{ended.contract}\n{ended.why}\n→ {ended.advice}" for ended in broken)
        raise AssertionError(f"{scorer.name} breaks {len(broken)} of {len(outcomes)} contracts\n\n{told}")


def suite(
    entry: Entry,
    host: ScorerHost,
    case: Case,
    other_host: Callable[[], AbstractContextManager[ScorerHost]] | None = None,
) -> list[Contract]:
    """The contracts of any scorer, computed by ``host`` and, for a second opinion, by ``other_host``."""
    return all_contracts(Trial(entry, host, find_form(entry.card, case), other_host))
