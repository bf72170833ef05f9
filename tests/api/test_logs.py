"""The log of a job's container, while it grows: of this job, and of no other in the same workspace."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.live import Live, live
from tests.api.sites import ApiSite
from tests.worker.sites import until


@pytest.fixture
def served(api: ApiSite) -> Iterator[Live]:
    with live(api) as found:
        yield found


def log_of(api: ApiSite, task_id: str, **given: Any) -> Any:
    return api.ask("GET", f"/api/v1/jobs/{task_id}/log", **given)


def test_an_ended_jobs_log_is_its_containers_output(api: ApiSite) -> None:
    job = api.job()
    api.drain()
    answer = log_of(api, job.task_id)
    assert (answer.status_code, answer.text) == (200, "begun good\nended by itself\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"offset": 6}, "good\nended by itself\n"),
        ({"tail": 7}, "itself\n"),
        ({"tail": 10**6}, "begun good\nended by itself\n"),
        ({"tail": 0}, ""),
        ({"offset": 10**6}, ""),
    ],
)
def test_a_part_of_a_log_can_be_asked_for(api: ApiSite, query: dict[str, int], text: str) -> None:
    job = api.job()
    api.drain()
    assert log_of(api, job.task_id, params=query).text == text


@pytest.mark.parametrize(
    "query",
    [
        {"offset": -1},
        {"tail": "x"},
        {"follow": "maybe"},
        {"log": "../meta.json"},
        {"log": "run_info"},
        {"x": 1},
    ],
)
def test_an_odd_question_is_refused(api: ApiSite, query: dict[str, Any]) -> None:
    job = api.job()
    answer = log_of(api, job.task_id, params=query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BAD_REQUEST")


def test_control_characters_come_as_they_are_and_nothing_runs_them(api: ApiSite) -> None:
    folder = api.workspace()
    job = api.job(folder)
    api.drain()
    printed = b"\x1b[2J\x00<script>alert(1)</script>\xff\xfe\r\n"
    (folder / "logs" / "container.log").write_bytes(printed)
    answer = log_of(api, job.task_id)
    assert answer.content == printed
    assert answer.headers["content-type"].startswith("text/plain")
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_running_jobs_output_is_there_before_it_ends(served: Live) -> None:
    folder = served.api.workspace("wait")
    job = served.api.job(folder)
    with served.stream(f"/api/v1/jobs/{job.task_id}/log?follow=true") as response:
        pieces = response.iter_raw()
        with served.api.working():
            assert next(pieces) == b"begun wait\n"
            assert served.api.state(job.task_id).state == "running"
            (folder / "release").touch()
            assert b"".join(pieces) == b"ended by itself\n"
    served.until_no_stream()


def test_a_followed_log_of_a_job_that_is_cancelled_ends(served: Live) -> None:
    job = served.api.job()
    with served.stream(f"/api/v1/jobs/{job.task_id}/log?follow=true") as response:
        until(lambda: len(served.api.service.streams) == 1)
        served.api.store.jobs.cancel(job.task_id, by="ada")
        assert response.read() == b""
    served.until_no_stream()


def test_a_job_that_has_not_begun_does_not_show_the_log_of_the_one_before(api: ApiSite) -> None:
    folder = api.workspace()
    api.job(folder, subject="bob")
    api.drain()
    assert (folder / "logs" / "container.log").read_text()  # the control: it lies there
    mine = api.job(folder)
    answer = log_of(api, mine.task_id)
    assert answer.status_code == 404
    assert "printed nothing yet" in answer.json()["error"]["message"]


def test_a_log_that_a_later_job_has_replaced_is_gone_for_the_first(api: ApiSite) -> None:
    folder = api.workspace()
    first = api.job(folder, subject="bob")
    api.drain()
    second = api.job(folder)
    api.drain()
    assert log_of(api, second.task_id).status_code == 200
    answer = log_of(api, first.task_id)
    assert answer.status_code == 404
    assert "replaced" in answer.json()["error"]["message"]


def test_a_run_that_fails_before_its_container_starts_leaves_no_log_of_another(api: ApiSite) -> None:
    folder = api.workspace()
    api.job(folder)
    api.drain()
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"resources": {"cpu": 1000000}}))
    failed = api.job(folder)
    api.drain()
    assert api.state(failed.task_id).state == "failed"
    assert log_of(api, failed.task_id).status_code == 404
    assert not (folder / "logs" / "container.log").exists()


def test_a_job_that_only_scores_has_no_log_and_hides_none(api: ApiSite) -> None:
    folder = api.workspace()
    ran = api.job(folder)
    api.drain()
    scored = api.job(folder, action="score")
    api.drain()
    assert "only scores" in log_of(api, scored.task_id).json()["error"]["message"]
    assert log_of(api, ran.task_id).text.startswith("begun")
    latest = api.ask("GET", "/logs", params={"workspace": api.name(folder)})
    assert latest.text.startswith("begun")


def test_the_platforms_log_is_for_organisers(api: ApiSite) -> None:
    job = api.job()
    api.drain()
    told = log_of(api, job.task_id, params={"log": "job"})
    assert {json.loads(line)["event"] for line in told.text.splitlines()} >= {"job_started"}
    refused = log_of(api, job.task_id, params={"log": "job"}, role="participant")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")


def a_link(log: Path, secret: Path) -> None:
    log.unlink()
    log.symlink_to(secret)


def a_linked_folder(log: Path, secret: Path) -> None:
    os.rename(log.parent, log.parent.with_name("former"))
    elsewhere = secret.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "container.log").write_bytes(secret.read_bytes())
    (elsewhere / "container.json").write_bytes(
        (log.parent.with_name("former") / "container.json").read_bytes()
    )
    log.parent.symlink_to(elsewhere)


def a_pipe(log: Path, _secret: Path) -> None:
    log.unlink()
    os.mkfifo(log)


def a_folder(log: Path, _secret: Path) -> None:
    log.unlink()
    log.mkdir()


@pytest.mark.parametrize("plant", [a_link, a_linked_folder, a_pipe, a_folder])
def test_what_is_no_plain_file_in_the_workspace_is_not_read(api: ApiSite, plant: Any, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    secret = tmp_path / "outside" / "secret"
    secret.write_text("the truth")
    folder = api.workspace()
    job = api.job(folder)
    api.drain()
    log = folder / "logs" / "container.log"
    plant(log, secret)
    if log.is_file():
        assert log.read_text() == "the truth"  # the control: a plain read follows it
    answer = log_of(api, job.task_id)
    assert answer.status_code == 404
    assert "the truth" not in answer.text


ODD_WORKSPACES = [
    "../../etc",
    "/etc",
    "w0/../w0",
    "..%2fw0",
    "w0\0",
    "",
    "x" * 5000,
    "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
]


@pytest.mark.parametrize("path", ["/logs", "/result"])
@pytest.mark.parametrize("workspace", ODD_WORKSPACES)
def test_an_odd_workspace_is_none(api: ApiSite, path: str, workspace: str) -> None:
    api.job(api.workspace())
    api.drain()
    answer = api.ask("GET", path, params={"workspace": workspace})
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["code"] in ("BAD_REQUEST", "NOT_FOUND")


@pytest.mark.parametrize("spelling", ["{name}", "./{name}", "{name}/", "{root}/{name}"])
def test_a_workspace_is_found_however_it_is_spelled(api: ApiSite, spelling: str) -> None:
    folder = api.workspace()
    api.job(folder)
    api.drain()
    workspace = spelling.format(name=api.name(folder), root=api.home)
    assert api.ask("GET", "/result", params={"workspace": workspace}).status_code == 200


def test_a_participant_gets_the_latest_of_their_own(api: ApiSite) -> None:
    folder = api.workspace()
    mine = api.job(folder, subject="bob")
    api.drain()
    api.job(folder, subject="eve")
    api.drain()
    asked: dict[str, Any] = {
        "params": {"workspace": api.name(folder)},
        "role": "participant",
        "subject": "bob",
    }
    assert api.ask("GET", "/result", **asked).json()["data"]["job"]["task_id"] == mine.task_id
    assert api.ask("GET", "/logs", **asked).status_code == 404  # what lies there is eve's
