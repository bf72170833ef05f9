"""The contract suite's doors: for a scorer in pytest, and for one of an installation's catalog."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoscorer import staging
from autoscorer.scorers.base import Scorer
from autoscorer.scorers.catalog import card_of
from autoscorer.scorers.content import scorer_sha256
from autoscorer.scorers.host import Code, Entry, InProcess
from autoscorer.testing.case import Case
from autoscorer.testing.contract import Contract, Verdict, all_contracts
from autoscorer.testing.trial import Trial
from autoscorer.workspace import Workspace


def contracts_for(
    scorer: Scorer, *, workspace: str | Path | None = None, params: Mapping[str, Any] | None = None
) -> list[Contract]:
    """The contracts of a scorer, to be given to ``pytest.mark.parametrize``.

    They are tried on its ``example``, or on the `reference/` and `output/` of a small workspace. Raises
    ValueError if there is neither.
    """
    card = card_of(scorer, name=scorer.name, origin="process", sha256=scorer_sha256(scorer))
    entry = Entry(card=card, code=Code(module=type(scorer).__module__), instance=scorer)
    case = find_case(entry, None if workspace is None else Path(workspace), params)
    if case is None:
        raise ValueError(f"{scorer.name} brings no example: add one to its class, or name a workspace")
    return all_contracts(Trial(entry, InProcess(), case))


def check_scorer(
    scorer: Scorer, *, workspace: str | Path | None = None, params: Mapping[str, Any] | None = None
) -> None:
    """All of `contracts_for` at once. Raises AssertionError that names every broken contract."""
    outcomes = [contract.outcome() for contract in contracts_for(scorer, workspace=workspace, params=params)]
    broken = [ended for ended in outcomes if ended.verdict is Verdict.BROKEN]
    if broken:
        told = "\n\n".join(f"{ended.contract}\n{ended.why}\n→ {ended.advice}" for ended in broken)
        raise AssertionError(f"{scorer.name} breaks {len(broken)} of {len(outcomes)} contracts\n\n{told}")


def find_case(entry: Entry, workspace: Path | None, params: Mapping[str, Any] | None) -> Case | None:
    """The data to try a scorer on: of ``workspace``, else its example; None if there is neither.

    ``params`` stand for those of the example or, if it names this scorer, of `meta.json`. Raises
    AutoscorerError for a workspace that cannot be read.
    """
    if workspace is not None:
        return _workspace_case(entry, Workspace.open(workspace), params)
    example = entry.card.example
    if example is None:
        return None
    return Case.of_example(example, params)


def _workspace_case(entry: Entry, workspace: Workspace, params: Mapping[str, Any] | None) -> Case:
    spec = workspace.load_spec()
    if params is None:
        params = spec.scorer_params if spec.scorer in (entry.card.name, *entry.card.aliases) else {}
    with tempfile.TemporaryDirectory(prefix="autoscorer-") as folder:
        output = staging.output_dir(workspace, spec)
        return Case.of_workspace(entry.card, workspace, output, params=params, scratch=Path(folder))
