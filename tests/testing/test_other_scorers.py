"""Scorers that are not like the built-in ones are tried as far as anybody can tell what is right for them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from autoscorer import BaseCSVScorer, BaseScorer, Example, NoParams, Result
from autoscorer.testing import Verdict, contracts_for
from tests.testing.test_contracts import IN_PROCESSES

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them


def verdicts(scorer: BaseScorer) -> dict[str, Verdict]:
    contracts = [contract for contract in contracts_for(scorer) if contract.name not in IN_PROCESSES]
    outcomes = [contract.outcome() for contract in contracts]
    assert [ended for ended in outcomes if ended.verdict is Verdict.BROKEN] == []
    return {ended.contract: ended.verdict for ended in outcomes}


class SquaredProbabilities(BaseCSVScorer):
    """The Brier score of probabilities: the truth has labels, the predictions have a column for each."""

    name = "brier"
    version = "1.0.0"
    primary_metric = "brier"
    higher_is_better = False
    score_range = (0.0, 2.0)
    params_model = NoParams
    columns = ()
    example = Example(
        reference={"gt.csv": "id,label\n1,cat\n2,dog\n"},
        predictions={"pred.csv": "id,p_cat,p_dog\n1,0.5,0.5\n2,0,1\n"},
        perfect={"pred.csv": "id,p_cat,p_dog\n1,1,0\n2,0,1\n"},
        metrics={"brier": (0.25 + 0.25) / 2},
    )

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        truth, delivered = self._load_ground_truth(workspace), self._load_predictions(workspace)
        self._validate_data_consistency(truth, delivered)
        errors = []
        for name, row in truth.items():
            for label in ("cat", "dog"):
                try:
                    given = float(delivered[name][f"p_{label}"])
                    is_it = row["label"] == label
                except (KeyError, ValueError) as exc:
                    side = (
                        self.reference(workspace) if exc.args == ("label",) else self.predictions(workspace)
                    )
                    raise side.fault("BAD_FORMAT", f"id {name}: no label or no probability") from exc
                errors.append((given - is_it) ** 2)
        return self.make_result({"brier": math.fsum(errors) / len(truth)})


class SharedWords(BaseScorer):
    """Files of text: nobody but the scorer knows what is inside."""

    name = "shared_words"
    version = "1.0.0"
    primary_metric = "shared"
    higher_is_better = True
    score_range = (0.0, 1.0)
    params_model = NoParams
    reference_files = ("truth.txt",)
    prediction_files = ("answer.txt",)
    example = Example(
        reference={"truth.txt": "the cat sat"},
        predictions={"answer.txt": "the dog sat"},
        perfect={"answer.txt": "the cat sat"},
        metrics={"shared": 2 / 3},
    )

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        reference, predictions = self.reference(workspace), self.predictions(workspace)
        words = []
        for source in (reference, predictions):
            try:
                words.append(source.read().decode().split())
            except UnicodeDecodeError as exc:
                raise source.fault("PARSE_ERROR", f"{source.name} is no UTF-8") from exc
            if not words[-1]:
                raise source.fault("BAD_FORMAT", f"{source.name} has no words")
        return self.make_result({"shared": len({*words[0]} & {*words[1]}) / len({*words[0]})})


def test_probabilities_are_tried_with_the_perfect_ones_of_the_example() -> None:
    found = verdicts(SquaredProbabilities())
    assert found["truth_scores_best"] is Verdict.KEPT
    assert found["row_order_does_not_matter"] is Verdict.KEPT
    assert found["faults_are_blamed_rightly"] is Verdict.KEPT
    assert Verdict.SKIPPED not in found.values()


def test_files_of_an_unknown_form_are_tried_whole() -> None:
    found = verdicts(SharedWords())
    assert {name for name, verdict in found.items() if verdict is Verdict.SKIPPED} == {
        "odd_data_are_scored_or_refused",
        "row_order_does_not_matter",
    }


def test_without_perfect_predictions_nobody_knows_what_is_best() -> None:
    class Unsure(SharedWords):
        example = Example(reference={"truth.txt": "a b"}, predictions={"answer.txt": "a"})

    (best,) = [contract for contract in contracts_for(Unsure()) if contract.name == "truth_scores_best"]
    ended = best.outcome()
    assert ended.verdict is Verdict.SKIPPED
    assert "give the example `perfect` predictions" in ended.why
