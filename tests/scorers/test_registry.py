"""A name means one scorer until somebody says that it shall mean another."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from autoscorer.schemas.result import Result
from autoscorer.scorers.base import BaseScorer
from autoscorer.scorers.registry import ScorerRegistry, load_builtin
from autoscorer.utils.errors import AutoscorerError


class First(BaseScorer):
    name = "mine"
    version = "1"

    def score(self, workspace: Path, params: dict[str, Any]) -> Result:
        raise NotImplementedError


class Second(First):
    version = "2"


@pytest.fixture
def scorers() -> ScorerRegistry:
    made = ScorerRegistry()
    made.register("mine", aliases=("my",))(First)
    return made


def refusal(scorers: ScorerRegistry, cls: type[Any], *names: str) -> AutoscorerError:
    with pytest.raises(AutoscorerError) as caught:
        scorers.register(names[0], aliases=names[1:])(cls)
    assert caught.value.code == "SCORER_NOT_FOUND"
    return caught.value


def test_a_scorer_is_found_by_name_and_by_alias(scorers: ScorerRegistry) -> None:
    assert scorers.get("mine") is scorers.get("my")
    assert (scorers.names(), scorers.aliases_of("mine")) == (["mine"], ["my"])


@pytest.mark.parametrize("names", [("mine",), ("other", "mine"), ("my", "mine"), ("mine", "my")])
def test_a_newcomer_cannot_take_a_name_in_use(scorers: ScorerRegistry, names: tuple[str, ...]) -> None:
    error = refusal(scorers, Second, *names)
    assert error.cause == "name_taken"
    assert "replace=True" in error.message
    assert scorers.get("mine").version == "1"


def test_by_word_a_newcomer_takes_the_name(scorers: ScorerRegistry) -> None:
    scorers.register("mine", replace=True)(Second)
    assert scorers.get("mine").version == "2"


def test_the_name_of_a_built_in_scorer_is_in_use() -> None:
    class Impostor(First):
        name = "classification_f1"

    assert refusal(load_builtin(), Impostor, "classification_f1").cause == "name_taken"


def test_the_same_class_may_come_again_with_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scorers: ScorerRegistry
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    source = (
        "from tests.scorers.test_registry import First\nclass Again(First):\n"
        "    name = 'again'\n    version = '{version}'\n"
    )
    for version in ("1", "22"):
        (tmp_path / "again_and_again.py").write_text(source.format(version=version))
        importlib.invalidate_caches()
        sys.modules.pop("again_and_again", None)
        scorers.register("again")(importlib.import_module("again_and_again").Again)
    assert scorers.get("again").version == "22"
    sys.modules.pop("again_and_again", None)


@pytest.mark.parametrize("name", ["", " mine", "a/b", "../mine", "mine@1", "m" * 65, "-mine", "mine\n", "的"])
def test_a_name_is_a_plain_word(name: str) -> None:
    odd = type("Odd", (First,), {"name": name or "x"})
    assert refusal(ScorerRegistry(), odd, name).cause == "unloadable"


def test_a_name_in_a_result_finds_its_scorer() -> None:
    scorers = ScorerRegistry()
    assert "calls itself 'mine'" in refusal(scorers, First, "other").message
    scorers.register("other", aliases=("mine",))(First)
    assert scorers.get(scorers.get("other").name) is scorers.get("other")


@pytest.mark.parametrize("missing", ["name", "version"])
def test_a_scorer_without_name_or_version_is_none(missing: str) -> None:
    nameless = type("Nameless", (First,), {missing: ""})
    assert "it needs name, version" in refusal(ScorerRegistry(), nameless, "mine").message


def test_what_is_recorded_is_kept_apart(scorers: ScorerRegistry) -> None:
    with scorers.recording() as recorded:
        scorers.register("mine")(Second)
    assert recorded.get("mine").version == "2"
    assert scorers.get("mine").version == "1"


def test_an_unknown_name_is_answered_with_a_near_one(scorers: ScorerRegistry) -> None:
    with pytest.raises(AutoscorerError, match="Did you mean 'mine'"):
        scorers.get("mime")
