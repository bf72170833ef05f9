"""Scorers over the API: from files below SCORERS_DIR, checked, recorded, tried, watched, with no restart."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoscorer.api.scorer_files import source_of
from tests.api.sites import ApiSite
from tests.worker.sites import until

GOOD = """
from autoscorer import BaseScorer, Result, register

@register("{name}")
class Mine(BaseScorer):
    name = "{name}"
    version = "{version}"

    def score(self, workspace, params):
        return Result(
            summary={{"score": 1.0}},
            metrics={{"score": 1.0}},
            versioning={{"scorer": "{name}", "version": "{version}", "timestamp": "2026-01-01T00:00:00Z"}},
        )
"""


def scorers_dir(api: ApiSite) -> Path:
    found = api.service.settings.scorers_dir
    assert found is not None
    return found


def written(folder: Path, name: str = "mine", version: str = "1.0.0") -> Path:
    path = folder / f"{name}.py"
    part = folder / f".{name}.part"
    part.write_text(GOOD.format(name=name, version=version))
    part.chmod(0o644)
    part.rename(path)
    return path


def names(api: ApiSite, **given: Any) -> dict[str, str]:
    found = api.ask("GET", "/scorers", **given).json()["data"]["scorers"]
    return {card["name"]: card["version"] for card in found}


def post(api: ApiSite, path: str, *, role: str = "organiser", **body: Any) -> Any:
    return api.ask("POST", f"/scorers/{path}", role=role, json=body)


@pytest.mark.slow
def test_a_scorer_is_loaded_listed_recorded_tried_and_loaded_again(api: ApiSite) -> None:
    written(scorers_dir(api))
    answer = post(api, "load", file_path="mine.py")
    assert answer.status_code == 200, answer.text
    (card,) = answer.json()["data"]["loaded"]
    assert (card["name"], card["version"]) == ("mine", "1.0.0")
    assert names(api)["mine"] == "1.0.0"
    recorded = api.store.scorers.find("mine")
    assert recorded is not None
    assert (recorded.sha256, recorded.loaded_by) == (card["sha256"], "ada (organiser)")
    folder = api.workspace()
    tried = post(api, "test", scorer_name="mine", workspace=api.name(folder))
    assert tried.status_code == 200, tried.text
    assert tried.json()["data"]["result"]["metrics"] == {"score": 1.0}
    assert tried.json()["data"]["contracts"]
    assert not (folder / "output" / "result.json").exists()
    written(scorers_dir(api), version="2.0.0")
    assert post(api, "reload", file_path="mine").status_code == 200
    assert names(api)["mine"] == "2.0.0"


@pytest.mark.slow
def test_a_file_that_does_not_load_leaves_the_last_good_one_serving(api: ApiSite) -> None:
    path = written(scorers_dir(api))
    assert post(api, "load", file_path="mine.py").status_code == 200
    path.write_text("def (")
    answer = post(api, "load", file_path="mine.py")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["cause"]) == (
        422,
        "SCORER_NOT_FOUND",
        "unloadable",
    )
    assert str(scorers_dir(api)) not in answer.text
    assert names(api)["mine"] == "1.0.0"
    failures = api.ask("GET", "/scorers").json()["data"]["failures"]
    assert [failure["source"] for failure in failures] == ["mine.py"]
    for role in ("participant", "viewer"):
        assert api.ask("GET", "/scorers", role=role).json()["data"]["failures"] == []


@pytest.mark.slow
def test_a_name_is_taken_over_only_by_word(api: ApiSite) -> None:
    written(scorers_dir(api), "classification_f1")
    refused = post(api, "load", file_path="classification_f1.py")
    assert refused.json()["error"]["details"]["cause"] == "name_taken"
    taken = post(api, "load", file_path="classification_f1.py", replace=True)
    assert taken.status_code == 200
    assert taken.json()["meta"]["warnings"][0]["code"] == "SCORER_REPLACED"


@pytest.mark.slow
def test_where_organisations_share_the_scorers_only_an_operator_replaces_a_name(api: ApiSite) -> None:
    written(scorers_dir(api), "classification_f1")
    api.organisation("another")
    for action in ("load", "reload"):
        refused = post(api, action, file_path="classification_f1.py", replace=True)
        assert refused.status_code == 403, action
        assert "only an operator" in refused.json()["error"]["message"]
    assert api.service.catalog.find("classification_f1").card.origin == "builtin"
    taken = post(api, "load", role="operator", file_path="classification_f1.py", replace=True)
    assert taken.status_code == 200


def outside(api: ApiSite, tmp_path: Path) -> Path:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    return written(elsewhere)


ODD: dict[str, Callable[[ApiSite, Path], str]] = {
    "a parent": lambda api, tmp: f"../{outside(api, tmp).relative_to(tmp)}",
    "an inner parent": lambda api, tmp: f"x/../../{outside(api, tmp).relative_to(tmp)}",
    "an absolute path elsewhere": lambda api, tmp: str(outside(api, tmp)),
    "a file that is not there": lambda _api, _tmp: "absent.py",
    "a system's file": lambda _api, _tmp: "/etc/passwd",
    "a folder linked to": lambda api, tmp: _linked(scorers_dir(api) / "linked", outside(api, tmp).parent),
    "NUL": lambda _api, _tmp: "mine\0.py",
    "percent signs": lambda _api, _tmp: "%2e%2e%2felsewhere%2fmine.py",
    "a workspace's file": lambda api, _tmp: api.name(written(api.workspace() / "output")),
}


def _linked(link: Path, target: Path) -> str:
    link.symlink_to(target)
    return f"{link.name}/mine.py"


@pytest.mark.parametrize("path", ["load", "reload", "watch"])
@pytest.mark.parametrize("case", ODD)
def test_nothing_is_loaded_from_elsewhere(api: ApiSite, case: str, path: str, tmp_path: Path) -> None:
    asked = ODD[case](api, tmp_path)
    answer = post(api, path, file_path=asked)
    assert answer.status_code in (400, 404), answer.text
    assert "mine" not in names(api)
    assert answer.json()["error"]["code"] in ("BAD_REQUEST", "NOT_FOUND")
    assert str(tmp_path) not in answer.text or str(tmp_path) in asked


def test_control_the_same_file_inside_the_folder_is_found(api: ApiSite) -> None:
    path = written(scorers_dir(api))
    for text in ("mine.py", "./mine.py", str(path)):
        assert source_of(api.service, text) == path


def test_a_link_in_the_folder_is_refused(api: ApiSite, tmp_path: Path) -> None:
    (scorers_dir(api) / "mine.py").symlink_to(outside(api, tmp_path))
    answer = post(api, "load", file_path="mine.py")
    assert answer.json()["error"]["details"]["cause"] == "refused"
    assert "mine" not in names(api)


def test_a_file_that_others_can_write_to_is_refused(api: ApiSite) -> None:
    os.chmod(written(scorers_dir(api)), 0o666)
    assert post(api, "load", file_path="mine.py").json()["error"]["details"]["cause"] == "refused"


@pytest.mark.slow
def test_a_folder_is_watched_until_it_is_let_go(api: ApiSite) -> None:
    begun = post(api, "watch", file_path=".")
    assert begun.status_code == 200, begun.text
    again = post(api, "watch", file_path=str(scorers_dir(api)))
    assert again.json()["data"]["since"] == begun.json()["data"]["since"]
    written(scorers_dir(api))
    until(lambda: "mine" in names(api), what="the file is loaded")
    until(lambda: api.store.scorers.find("mine") is not None)
    (watch,) = api.ask("GET", "/scorers/watch").json()["data"]["watches"]
    assert watch["file_path"] == "."
    assert [event["file"] for event in watch["events"]] == ["mine.py"]
    assert api.ask("DELETE", "/scorers/watch").status_code == 200
    assert api.ask("GET", "/scorers/watch").json()["data"]["watches"] == []
    assert api.ask("DELETE", "/scorers/watch").status_code == 404
    assert names(api)["mine"] == "1.0.0"


def test_a_trial_names_an_unknown_scorer_and_a_workspace_out_of_reach(api: ApiSite) -> None:
    unknown = post(api, "test", scorer_name="absent", workspace=api.name(api.workspace()))
    assert unknown.json()["error"]["code"] == "SCORER_NOT_FOUND"
    for workspace in ("absent", "../x", api.name(api.workspace(organisation="other"))):
        answer = post(api, "test", scorer_name="classification_f1", workspace=workspace)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")
