from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from autoscorer.intake.homes import real_folder, subject_slug
from tests.api.sites import ApiSite, close_api_site, make_api_site

SPEC = "/api/v1/jobs"


def _refused(api: ApiSite, workspace: str, **who: Any) -> Any:
    answer = api.ask("POST", "/submit", json={"workspace": workspace, "action": "score"}, **who)
    assert answer.status_code == 404, answer.text
    error = answer.json()["error"]
    assert error["message"] == f"There is no workspace {workspace!r}."
    return error


@pytest.mark.parametrize(
    "name",
    [
        ".",
        "/",
        "..",
        "../workspaces/w0",
        "w0/../w0",
        "w0/..",
        "w0/output",
        "w0/meta.json",
        "w0/meta.json/..",
        "%2e%2e/w0",
        "..%2fw0",
        "．．/w0",
        "w0%00",
        "W0",
        "w0\\",
        "/etc",
        "//etc",
        "~",
        "x" * 300,
        "a/" * 40,
        "organisations",
        "organisations/default",
        "organisations/other",
        ".hidden",
    ],
)
@pytest.mark.fault("path in a request with traversal or odd encoding")
def test_what_is_no_workspace_of_ones_own_is_not_there(api: ApiSite, name: str) -> None:
    folder = api.workspace()
    assert folder.name == "w0"
    (api.home / ".hidden").mkdir()
    (api.home / ".hidden" / "meta.json").write_text((folder / "meta.json").read_text())
    (folder / "output" / "meta.json").write_text((folder / "meta.json").read_text())
    _refused(api, name)


@pytest.mark.parametrize("name", ["w0", "./w0", "w0/", "//w0"[1:].lstrip("/"), "absolute"])
def test_a_workspace_has_one_name_however_it_is_written(api: ApiSite, name: str) -> None:
    folder = api.workspace()
    asked = str(folder) if name == "absolute" else name
    answer = api.ask("POST", SPEC, json={"workspace": asked, "action": "score"})
    assert answer.json()["data"]["workspace"] == "w0"


@pytest.mark.fault("link in a workspace that leads out")
def test_a_link_that_leads_out_is_not_there_and_without_the_guard_it_would_be(
    api: ApiSite, tmp_path: Path
) -> None:
    outside = api.site.workspace(below=tmp_path / "outside")
    (api.home / "door").symlink_to(outside)
    (api.home / "loop").symlink_to("loop")
    for name in ("door", "loop"):
        _refused(api, name)
    assert (api.home / "door" / "meta.json").is_file()  # control: the link itself works


@pytest.mark.fault("link in a workspace that leads out")
def test_a_link_into_anothers_home_is_not_there(api: ApiSite) -> None:
    folder = api.workspace(organisation="other")
    (api.home / "neighbour").symlink_to(folder)
    (api.home / "own").symlink_to(api.workspace())
    _refused(api, "neighbour")
    answer = api.ask("POST", SPEC, json={"workspace": "own", "action": "score"})
    assert answer.json()["data"]["workspace"] != "own"  # by its real name: two names are one workspace


def test_a_participant_runs_what_is_theirs_and_nothing_else(api: ApiSite) -> None:
    base = api.workspace()
    mine = api.site.workspace(below=api.home / "submissions" / "ada")
    others = api.site.workspace(below=api.home / "submissions" / "bob")
    for folder in (base, others):
        _refused(api, api.name(folder), role="participant")
    answer = api.ask(
        "POST", "/submit", json={"workspace": api.name(mine), "action": "score"}, role="participant"
    )
    assert answer.status_code == 202


def test_two_subjects_never_share_a_folder() -> None:
    subjects = [
        "ada",
        "Ada",
        "ada@example.org",
        "ada-example-org",
        "ada.example",
        "..",
        "",
        "名前",
        "a/b",
        "x" * 99,
    ]
    slugs = [subject_slug(subject) for subject in subjects]
    assert len({slug.lower() for slug in slugs}) == len(subjects)
    assert all("/" not in slug and not slug.startswith(".") for slug in slugs)
    assert slugs[0] == "ada"


def test_an_operators_job_belongs_to_the_home_it_lies_in(api: ApiSite) -> None:
    folder = api.workspace(organisation="other")
    job = api.ask(
        "POST", SPEC, json={"workspace": api.name(folder), "action": "score"}, role="operator"
    ).json()["data"]
    assert api.state(job["task_id"]).organisation_id == api.organisation("other")


def test_a_specification_makes_a_workspace_of_copied_bytes(api: ApiSite) -> None:
    base = api.workspace()
    (base / "input" / "x.csv").write_text("1")
    container = {"image": "team/model:1", "cmd": ["go"]}
    asked = {"workspace": api.name(base), "spec": {"job_id": "mine", "container": container}}
    view = api.ask("POST", SPEC, json=asked, role="participant").json()["data"]
    made = api.home / view["workspace"]
    assert made.parent == api.home / "submissions" / "ada"
    assert view["job_id"] == "mine"
    spec = json.loads((made / "meta.json").read_text())
    assert (spec["container"]["image"], spec["scorer"]) == ("team/model:1", "classification_f1")
    for name in ("input/x.csv", "reference/gt.csv"):
        assert (made / name).read_bytes() == (base / name).read_bytes()
        assert (made / name).stat().st_ino != (base / name).stat().st_ino
    assert not list((made / "output").iterdir())


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"spec": {"scorer": "classification_accuracy"}}, "scorer"),
        ({"spec": {"time_limit": 9, "resources": {"cpu": 9}}}, "resources"),
        ({"spec": {"input_uri": "file://./reference"}}, "input_uri"),
        ({"spec": {}, "params": {}}, "params"),
        ({"spec": {}, "scorer": "classification_accuracy"}, "scorer"),
        ({"spec": {}, "priority": 1}, "priority"),
    ],
)
def test_how_a_job_is_scored_is_not_the_participants_choice(
    api: ApiSite, asked: dict[str, Any], field: str
) -> None:
    given = {"workspace": api.name(api.workspace()), **asked}
    refused = api.ask("POST", SPEC, json=given, role="participant")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert field in refused.json()["error"]["details"]["fields"]
    assert not list(api.home.glob("submissions/*/*"))
    if field != "input_uri":  # which shows the truth, whoever asks
        assert api.ask("POST", SPEC, json=given).status_code == 202


def test_anothers_submission_is_no_base(api: ApiSite) -> None:
    others = api.site.workspace(below=api.home / "submissions" / "bob")
    asked: dict[str, Any] = {"workspace": api.name(others), "spec": {}}
    answers = [
        api.ask("POST", SPEC, json={**asked, "workspace": name}, role="participant")
        for name in (asked["workspace"], asked["workspace"] + "x")
    ]
    assert [answer.status_code for answer in answers] == [404, 404]


def test_a_refused_specification_leaves_no_workspace_behind(api: ApiSite) -> None:
    base = api.workspace()
    name = api.name(base)
    for spec, code in (
        ({"scorer": "classification_f9"}, "SCORER_NOT_FOUND"),
        ({"resources": {"cpu": 4096}}, "LIMIT_EXCEEDED"),
        ({"tme_limit": 3}, "CONFIG_VALIDATION_ERROR"),
    ):
        answer = api.ask("POST", SPEC, json={"workspace": name, "spec": spec})
        assert answer.json()["error"]["code"] == code
    api.ask("POST", SPEC, json={"workspace": name, "spec": {"job_id": "twice"}})
    again = api.ask("POST", SPEC, json={"workspace": name, "spec": {"job_id": "twice"}})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "CONFLICT")
    assert len(list(api.home.glob("submissions/*/*"))) == 1
    assert len(list(api.home.glob("submissions/*/.*"))) == 0


@pytest.mark.fault("link in a workspace that leads out")
def test_a_link_to_elsewhere_is_not_copied(api: ApiSite, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    base = api.workspace()
    (base / "input" / "x").symlink_to(tmp_path / "secret")
    answer = api.ask("POST", SPEC, json={"workspace": api.name(base), "spec": {}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "CONFIG_VALIDATION_ERROR")
    (base / "input" / "x").unlink()
    (base / "input" / "x").symlink_to(base / "reference" / "gt.csv")
    os.mkfifo(base / "reference" / "pipe")
    again = api.ask("POST", SPEC, json={"workspace": api.name(base), "action": "score", "spec": {}})
    assert again.status_code == 422
    (base / "reference" / "pipe").unlink()
    view = api.ask("POST", SPEC, json={"workspace": api.name(base), "action": "score", "spec": {}})
    assert not (api.home / view.json()["data"]["workspace"] / "input" / "x").is_symlink()


def test_an_organisers_faulty_workspace_tells_a_participant_no_particulars(api: ApiSite) -> None:
    base = api.workspace()
    (base / "meta.json").write_text('{"job_id": "secret-thing", "wrong": 1}')
    asked = {"workspace": api.name(base), "spec": {}}
    told = {role: api.ask("POST", SPEC, json=asked, role=role) for role in ("organiser", "participant")}
    assert "wrong" in told["organiser"].text
    assert "wrong" not in told["participant"].text
    assert {answer.status_code for answer in told.values()} == {422}


@pytest.mark.parametrize("where", ["request", "meta.json"])
def test_parameters_that_the_scorer_does_not_take_are_refused_before_they_wait(
    api: ApiSite, where: str
) -> None:
    params = {"beta": 2}
    of_meta: dict[str, Any] = {"scorer_params": params} if where == "meta.json" else {}
    base = api.name(api.workspace(**of_meta))
    asked = {"workspace": base, **({"params": params} if where == "request" else {})}
    refused = api.ask("POST", "/submit", json={**asked, "action": "pipeline"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "CONFIG_VALIDATION_ERROR")
    assert "scorer_params.beta: unknown key" in refused.json()["error"]["message"]
    assert api.ask("POST", "/submit", json={**asked, "action": "run"}).status_code == 202  # it is not scored


def test_a_participant_hears_no_particulars_of_the_organisers_parameters(api: ApiSite) -> None:
    asked = {"workspace": api.name(api.workspace(scorer_params={"beta": 2})), "spec": {}}
    refused = api.ask("POST", SPEC, json=asked, role="participant")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "CONFIG_VALIDATION_ERROR")
    assert "beta" not in refused.text


def test_a_label_in_use_by_somebody_else_tells_nothing_of_their_job(api: ApiSite) -> None:
    base = api.name(api.workspace())
    asked = {"workspace": base, "spec": {"job_id": "final"}}
    first = api.ask("POST", SPEC, json=asked, role="participant", subject="bob").json()["data"]
    refused = api.ask("POST", SPEC, json=asked, role="participant", subject="eve")
    assert refused.status_code == 409
    assert first["task_id"] not in refused.text
    assert "queued" not in refused.text


@pytest.mark.parametrize("action", ["run", "pipeline", "score"])
def test_truth_in_input_is_refused_before_it_waits_unless_allowed(tmp_path: Path, action: str) -> None:
    for number, (allowed, status) in enumerate((("false", 422), ("true", 202))):
        api = make_api_site(tmp_path / str(number), ALLOW_TRUTH_IN_INPUT=allowed)
        folder = api.workspace()
        (folder / "input" / "gt.csv").write_text("id,label\n1,a\n")
        answer = api.ask("POST", "/submit", json={"workspace": api.name(folder), "action": action})
        assert answer.status_code == (202 if action == "score" else status)
        close_api_site(api)


@pytest.mark.parametrize(
    ("fields", "code", "status"),
    [
        ({"backend": "trusted"}, "BAD_REQUEST", 400),
        ({"scorer": "classification_f9"}, "SCORER_NOT_FOUND", 422),
        ({"scorer": "classification_f1@" + "0" * 64}, "SCORER_NOT_FOUND", 422),
        ({"callback_url": "http://127.0.0.1/x"}, "BAD_REQUEST", 400),
        ({"callback_url": "file:///etc/passwd"}, "BAD_REQUEST", 400),
    ],
)
def test_what_cannot_work_is_refused_before_it_waits(
    api: ApiSite, fields: dict[str, Any], code: str, status: int
) -> None:
    asked = {"workspace": api.name(api.workspace()), "action": "score"}
    answer = api.ask("POST", "/submit", json={**asked, **fields})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert api.ask("POST", "/submit", json=asked).status_code == 202


def test_a_folder_is_real_or_none(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert real_folder(tmp_path, "a/./b/") == tmp_path / "a" / "b"
    assert real_folder(tmp_path, "\udcff") is None
    assert real_folder(tmp_path, "a\0") is None
    assert real_folder(tmp_path, "a/c") is None
    assert real_folder(tmp_path, "x" * 300) is None
    assert real_folder(Path("/"), f"{tmp_path}/a"[1:]) == tmp_path / "a"
    assert real_folder(Path("/"), ".") == Path("/")
    (tmp_path / "link").symlink_to("a")
    assert real_folder(tmp_path, "link/b") == tmp_path / "a" / "b"
