"""Each contract finds the scorer that breaks it, and only it; the built-in scorers keep them all."""

from __future__ import annotations

import pytest

from autoscorer.scorers.catalog import Catalog
from autoscorer.testing import Contract, Verdict, check_scorer, contracts_for
from tests.testing.mutants import AlwaysFails, ReadsByHand, Sound, mutants

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them

BUILT_IN = {entry.card.name: entry for entry in Catalog().entries() if entry.card.origin == "builtin"}
# These start processes, about a second each: tried on the mutants that are made for them.
IN_PROCESSES = {"same_in_another_process", "surroundings_do_not_matter"}


def broken(contracts: list[Contract]) -> set[str]:
    return {contract.name for contract in contracts if contract.outcome().verdict is Verdict.BROKEN}


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_scorer_keeps_every_contract(name: str) -> None:
    scorer = BUILT_IN[name].instance
    assert scorer is not None
    outcomes = [contract.outcome() for contract in contracts_for(scorer)]
    assert {
        outcome.contract: outcome.why for outcome in outcomes if outcome.verdict is not Verdict.KEPT
    } == {}


@pytest.mark.slow
def test_a_sound_scorer_keeps_every_contract() -> None:
    assert {contract.outcome().verdict for contract in contracts_for(Sound())} == {Verdict.KEPT}
    check_scorer(Sound())


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.__name__)
def test_a_mutant_breaks_what_it_breaks_and_nothing_else(mutant: type[Sound]) -> None:
    tried = [contract for contract in contracts_for(mutant()) if contract.name not in IN_PROCESSES]
    assert broken(tried) == mutant.breaks - IN_PROCESSES


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutant",
    [made for made in mutants() if made.breaks & IN_PROCESSES],
    ids=lambda mutant: mutant.__name__,
)
def test_a_mutant_breaks_what_another_process_shows(mutant: type[Sound]) -> None:
    tried = [contract for contract in contracts_for(mutant()) if contract.name in IN_PROCESSES]
    assert broken(tried) == mutant.breaks


def test_every_contract_has_a_mutant_that_breaks_it_alone() -> None:
    alone = {name for mutant in mutants() for name in mutant.breaks if len(mutant.breaks) == 1}
    assert alone == {contract.name for contract in contracts_for(Sound())}


def test_a_broken_contract_says_what_was_seen_on_which_data_and_what_to_do() -> None:
    (faults,) = [c for c in contracts_for(ReadsByHand()) if c.name == "faults_are_blamed_rightly"]
    with pytest.raises(AssertionError) as caught:
        faults.check()
    told = str(caught.value)
    assert "pred.csv: the row of the first id is missing: the scorer failed: SCORE_ERROR" in told
    assert "KeyError: '1'" in told
    assert r"(pred.csv: 'id,label\n2,cat\n3,dog\n4,fox\n')" in told
    assert "→ self.load_labels(workspace)" in told


def test_without_a_result_only_that_is_told() -> None:
    outcomes = {c.name: c.outcome() for c in contracts_for(AlwaysFails()) if c.name not in IN_PROCESSES}
    valid = outcomes.pop("gives_a_valid_result")
    assert (valid.verdict, "ValueError: not written yet" in valid.why) == (Verdict.BROKEN, True)
    skipped = {name for name, ended in outcomes.items() if ended.verdict is Verdict.SKIPPED}
    assert skipped == set(outcomes) - {"declares_itself", "params_are_checked"}


def test_a_scorer_is_checked_in_one_call_that_names_every_broken_contract() -> None:
    with pytest.raises(AssertionError, match=r"sound breaks 1 of \d+ contracts\s+gives_a_valid_result"):
        check_scorer(AlwaysFails())


def test_a_scorer_without_data_is_told_to_bring_some() -> None:
    class Bare(Sound):
        example = None  # type: ignore[assignment]

    with pytest.raises(ValueError, match="sound brings no example"):
        contracts_for(Bare())
