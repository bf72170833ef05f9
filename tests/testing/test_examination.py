"""`scorers test`: a scorer tried on a workspace or its example, here or in its child, writing nothing."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

import pytest

from autoscorer.scorers.catalog import Catalog, card_of
from autoscorer.scorers.child.host import ChildHost
from autoscorer.scorers.content import scorer_sha256
from autoscorer.scorers.host import Code, Entry
from autoscorer.testing import Verdict, contracts_for
from autoscorer.testing.examination import Examination, examine
from autoscorer.testing.trial import tree
from autoscorer.utils.config import Config
from autoscorer.utils.errors import AutoscorerError
from tests.cli import call
from tests.testing import mutants
from tests.testing.mutants import FailsOnOneClass, Sound
from tests.workspaces import ROOT, MakeWorkspace

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them

PREDICTIONS = "id,label\n1,cat\n2,cat\n"


def entry_of(scorer: Sound) -> Entry:
    card = card_of(scorer, name=scorer.name, origin="process", sha256=scorer_sha256(scorer))
    return Entry(card=card, code=Code(module=type(scorer).__module__), instance=scorer)


def examined(entry: Entry, catalog: Catalog, workspace: Path | None = None) -> Examination:
    return examine(catalog, entry, workspace=workspace, params=None, other_host=apart)


def apart() -> Catalog:
    return Catalog(lambda: ChildHost(Config(environ={}).settings, warm=True))


def broken(found: Examination) -> set[str]:
    return {ended.contract for ended in found.outcomes if ended.verdict is Verdict.BROKEN}


@pytest.mark.slow
def test_a_workspace_is_scored_and_tried_and_nothing_in_it_changes(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(predictions=PREDICTIONS)
    before = tree(workspace)
    found = examined(entry_of(Sound()), Catalog(), workspace)
    assert found.result is not None
    assert found.result.summary["score"] == 0.5  # one of two is right
    assert found.passed
    assert {ended.verdict for ended in found.outcomes} == {Verdict.KEPT}
    assert tree(workspace) == before


def test_contracts_are_tried_on_the_data_of_the_workspace(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(truth="id,label\n1,a\n", predictions="id,label\n1,b\n")
    (odd,) = [
        contract
        for contract in contracts_for(FailsOnOneClass(), workspace=workspace)
        if contract.name == "odd_data_are_scored_or_refused"
    ]
    assert "(gt.csv: 'id,label\\n1,a\\n')" in odd.outcome().why


def test_a_truth_in_input_is_found_there(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(truth=None, predictions=PREDICTIONS)
    (workspace / "input" / "gt.csv").write_text("id,label\n1,cat\n2,dog\n")
    contracts = {contract.name: contract for contract in contracts_for(Sound(), workspace=workspace)}
    assert contracts["truth_scores_best"].outcome().verdict is Verdict.KEPT
    assert contracts["faults_are_blamed_rightly"].outcome().verdict is Verdict.KEPT


def test_predictions_that_lead_to_the_truth_are_never_tried(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    (workspace / "output").mkdir()
    (workspace / "output" / "pred.csv").symlink_to(workspace / "reference" / "gt.csv")
    with pytest.raises(AutoscorerError) as caught:
        examined(entry_of(Sound()), Catalog(), workspace)
    assert caught.value.code == "OUTPUT_INVALID"


def test_without_workspace_and_example_there_is_nothing_to_try() -> None:
    entry = entry_of(Sound())
    bare = Entry(
        card=entry.card.model_copy(update={"example": None}), code=entry.code, instance=entry.instance
    )
    with pytest.raises(AutoscorerError, match="name a workspace with --workspace"):
        examined(bare, Catalog())


@pytest.mark.slow
def test_a_scorer_apart_is_tried_there_and_its_faults_are_found_there(tmp_path: Path) -> None:
    with apart() as catalog:
        sound = _stored(tmp_path / "sound.py", Sound, catalog)
        found = examined(sound, catalog)
        assert broken(found) == set(), [ended.why for ended in found.outcomes]
        skipped = {ended.contract for ended in found.outcomes if ended.verdict is Verdict.SKIPPED}
        assert skipped == {"surroundings_do_not_matter"}
        mutant = _stored(tmp_path / "mutant.py", mutants.GoesThroughASet, catalog)
        assert broken(examined(mutant, catalog)) == {"same_in_another_process"}


def _stored(path: Path, scorer: type[Sound], catalog: Catalog) -> Entry:
    """The scorer's module as a file that registers this class only, described by the child."""
    text = inspect.getsource(mutants)
    register = f"\n\nfrom autoscorer import register\nregister('sound')({scorer.__name__})\n"
    path.write_text(text + register)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    (card,) = catalog.child().describe(Code(path=path), sha256)
    return Entry(card=card, code=Code(path=path))


@pytest.mark.slow
def test_the_command_tells_of_every_contract_and_of_the_score() -> None:
    workspace = ROOT / "examples" / "test"
    called = call("scorers", "test", "--scorer-name", "classification_f1", "--workspace", workspace)
    data = called.answer["data"]
    assert (called.exit_code, data["passed"]) == (0, True)
    assert data["result"]["summary"]["f1_macro"] == pytest.approx(0.9440559440559441)
    assert {contract["verdict"] for contract in data["contracts"]} == {"kept"}
    assert data["scorer"]["name"] == "classification_f1"


def test_the_command_names_a_scorer_that_is_not_there() -> None:
    called = call("scorers", "test", "--scorer-name", "clasification_f1")
    assert (called.exit_code, called.error["code"]) == (1, "SCORER_NOT_FOUND")
