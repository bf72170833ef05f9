"""A scorer of this installation examined: on a workspace or its example, then by every contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoscorer.schemas.result import Result
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.evaluation import evaluate
from autoscorer.scorers.host import Entry, ScorerHost
from autoscorer.testing.case import Case
from autoscorer.testing.contract import Outcome, Verdict
from autoscorer.testing.suite import suite
from autoscorer.testing.workspaces import open_workspace
from autoscorer.utils.errors import AutoscorerError

OpenHost = Callable[[], AbstractContextManager[ScorerHost]]


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What came of it; ``result`` is that of the workspace, None where none was named."""

    card: ScorerCard
    result: Result | None
    outcomes: list[Outcome]

    @property
    def passed(self) -> bool:
        return all(ended.verdict is not Verdict.BROKEN for ended in self.outcomes)


def examine(
    catalog: Catalog,
    entry: Entry,
    *,
    workspace: Path | None,
    params: Mapping[str, Any] | None,
    other_host: OpenHost,
    on_contract: Callable[[str], None] = lambda _name: None,
) -> Examination:
    """Score ``workspace`` without writing into it, then try every contract on it, or on the example.

    ``on_contract`` hears the name of each before it is tried. Raises AutoscorerError as scoring the
    workspace does, and CONFIG_VALIDATION_ERROR if there is neither workspace nor example.
    """
    if workspace is None:
        result, case = None, _example(entry, params)
    else:
        with open_workspace(entry.card, workspace, params) as data:
            result = evaluate(catalog, entry, data.view, data.params, {})
            case = Case.of_view(entry.card, data.view.root, data.params)
    outcomes = []
    for contract in suite(entry, catalog, case, other_host):
        on_contract(contract.name)
        outcomes.append(contract.outcome())
    return Examination(card=entry.card, result=result, outcomes=outcomes)


def _example(entry: Entry, params: Mapping[str, Any] | None) -> Case:
    if entry.card.example is None:
        message = f"{entry.card.name} brings no example to try it on: name a workspace with --workspace"
        raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="workspace")
    return Case.of_example(entry.card.example, params)
