"""What a specification may reach: the folder of its organisation, never another's."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from autoscorer import staging
from autoscorer.intake import copies
from autoscorer.staging import home_around
from autoscorer.store.transitions import JobState
from tests.api.sites import ApiSite

JOBS, UPLOADS = "/api/v1/jobs", "/api/v1/workspaces"


def packed(files: dict[str, str]) -> bytes:
    """A tar archive of these files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return archive.getvalue()


def data_of(api: ApiSite, organisation: str) -> Path:
    """A folder of data that all workspaces of an organisation may show."""
    folder = api.service.homes.home(api.organisation(organisation)) / "data"
    folder.mkdir(parents=True)
    (folder / "x.csv").write_text(f"of {organisation}")
    return folder


def without_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (staging, copies):
        monkeypatch.setattr(module, "home_around", lambda _path, root: root)


@pytest.mark.parametrize(("mine", "theirs"), [("a", "b"), ("default", "b"), ("a", "default")])
@pytest.mark.parametrize("way", ["spec", "meta.json", "uploaded base", "link"])
def test_an_organisations_data_is_shown_to_no_other(
    api: ApiSite, monkeypatch: pytest.MonkeyPatch, mine: str, theirs: str, way: str
) -> None:
    target = data_of(api, theirs)

    def attack() -> Any:
        uri: dict[str, Any] = {} if way == "link" else {"input_uri": f"file://{target}"}
        base = api.workspace(organisation=mine, **({} if way in ("spec", "uploaded base") else uri))
        if way == "link":
            (base / "input" / "x.csv").symlink_to(target / "x.csv")
        asked: dict[str, Any] = {"workspace": api.name(base), "spec": uri if way == "spec" else {}}
        if way == "uploaded base":
            meta = (
                (base / "meta.json")
                .read_text()
                .replace('{"job_id"', f'{{"input_uri": "file://{target}", "job_id"')
            )
            sent = packed({"meta.json": meta, "input/i": "", "reference/gt.csv": "id,label\n1,a\n"})
            made = api.ask("POST", UPLOADS, content=sent, organisation=mine).json()
            asked["workspace"] = made["data"]["workspace"]
        return api.ask("POST", JOBS, json=asked, organisation=mine)

    refused = attack()
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "CONFIG_VALIDATION_ERROR")
    assert "organisation's folder" in refused.text
    without_the_guard(monkeypatch)
    assert attack().status_code == 202  # control


def test_an_organisations_own_data_is_shown(api: ApiSite) -> None:
    for name in ("default", "a"):
        base, data = api.workspace(organisation=name), data_of(api, name)
        asked = {"workspace": api.name(base), "spec": {"input_uri": f"file://{data}"}}
        assert api.ask("POST", JOBS, json=asked, organisation=name).status_code == 202
        assert api.ask("POST", JOBS, json=asked, role="operator", subject="root").status_code == 202


def test_an_operators_job_reads_what_the_workspaces_organisation_may_read(api: ApiSite) -> None:
    base = api.workspace(organisation="a")
    asked = {"workspace": api.name(base), "spec": {"input_uri": f"file://{data_of(api, 'b')}"}}
    assert api.ask("POST", JOBS, json=asked, role="operator", subject="root").status_code == 422


def test_a_worker_shows_no_other_organisations_data_whatever_was_accepted(
    api: ApiSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"file://{data_of(api, 'b')}"
    for guarded, state in ((True, JobState.FAILED), (False, JobState.SUCCEEDED)):
        if not guarded:
            without_the_guard(monkeypatch)  # control
        job = api.job(api.workspace(organisation="a", input_uri=uri), organisation="a")
        api.drain()
        ended = api.state(job.task_id)
        assert ended.state is state, ended.error
        assert guarded == ((ended.error or {}).get("code") == "CONFIG_VALIDATION_ERROR")


def test_output_outside_the_workspace_is_refused_before_it_waits(api: ApiSite) -> None:
    base, outside = api.workspace(organisation="a"), data_of(api, "b")
    for uri in (f"file://{outside}", "file://../../x", "file://./reference"):
        for action in ("pipeline", "score"):
            asked = {"workspace": api.name(base), "action": action, "spec": {"output_uri": uri}}
            assert api.ask("POST", JOBS, json=asked, organisation="a").status_code == 422
    assert (
        api.ask("POST", JOBS, json={"workspace": api.name(base), "spec": {}}, organisation="a").status_code
        == 202
    )


def test_two_paths_have_one_home_only_in_one_organisation() -> None:
    root = Path("/root-folder")
    homes = {
        "w": root,
        "x/organisations/b": root,
        "organisations": root / "organisations",
        "organisations/b": root / "organisations" / "b",
        "organisations/b/data/x": root / "organisations" / "b",
    }
    assert {name: home_around(root / name, root) for name in homes} == homes
    assert home_around(Path("/elsewhere"), root) == root
