"""Archives that are sent become workspaces: whole, with what their sender may bring, or not at all."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from autoscorer.intake.uploads import Upload, sweep
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.errors import AutoscorerError
from tests.api.live import live
from tests.api.sites import ApiSite, close_api_site, make_api_site
from tests.unpacking.archives import special, tar_of, zip_of
from tests.worker.sites import until
from tests.worker.stub import GOOD

PREDICTIONS = {"output/pred.csv": GOOD.encode()}
UPLOADS = "/api/v1/workspaces"


def whole_workspace() -> dict[str, bytes]:
    meta = {
        "job_id": "uploaded",
        "task_type": "classification",
        "scorer": "classification_f1",
        "container": {"image": "stub", "cmd": ["good"]},
    }
    return {
        "meta.json": json.dumps(meta).encode(),
        "input/test.csv": b"id\n1\n2\n",
        "reference/gt.csv": GOOD.encode(),
        **PREDICTIONS,
    }


def sent(api: ApiSite, content: Any, *, base: str | None = None, **given: Any) -> Any:
    params = {} if base is None else {"base": base}
    return api.ask("POST", UPLOADS, content=content, params=params, **given)


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("make", [tar_of, zip_of, lambda files: tar_of(files, packed=True)])
def test_an_organisers_archive_becomes_a_workspace_that_scores(api: ApiSite, make: Any) -> None:
    answer = sent(api, make(whole_workspace()))
    assert answer.status_code == 201, answer.text
    made = answer.json()["data"]
    assert (made["files"], made["bytes"]) == (4, sum(map(len, whole_workspace().values())))
    assert made["workspace"].startswith("workspaces/")
    asked = {"workspace": made["workspace"], "action": "score"}
    job = api.ask("POST", "/api/v1/jobs", json=asked).json()["data"]
    assert job["job_id"] == "uploaded"


def test_a_participants_predictions_are_scored_against_the_organisers_truth(api: ApiSite) -> None:
    base = api.workspace(job_id="competition")
    made = sent(api, tar_of(PREDICTIONS), base=api.name(base), role="participant", subject="bob")
    assert made.status_code == 201, made.text
    name = made.json()["data"]["workspace"]
    assert name.startswith("submissions/bob/")
    folder = api.home / name
    assert (folder / "reference/gt.csv").read_bytes() == (base / "reference/gt.csv").read_bytes()
    assert (folder / "output/pred.csv").read_text() == GOOD
    label = json.loads((folder / "meta.json").read_text())["job_id"]
    assert label.startswith("competition-")
    asked = {"workspace": name, "action": "pipeline", "backend": "stub"}  # which participants may not name
    job = api.ask("POST", "/api/v1/jobs", json=asked, role="organiser", subject="bob").json()["data"]
    api.drain()
    result = api.ask("GET", f"/api/v1/jobs/{job['task_id']}/result", role="participant", subject="bob")
    assert result.json()["data"]["result"]["metrics"]["f1_macro"] == 1.0
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}


def test_what_was_uploaded_can_be_the_base_of_participants(api: ApiSite) -> None:
    base = sent(api, zip_of(whole_workspace())).json()["data"]["workspace"]
    assert sent(api, tar_of(PREDICTIONS), base=base, role="participant").status_code == 201


def test_two_participants_submit_to_one_competition_at_once(api: ApiSite) -> None:
    base = api.name(api.workspace())
    for subject in ("bob", "eve"):
        name = sent(api, tar_of(PREDICTIONS), base=base, role="participant", subject=subject).json()
        asked = {"workspace": name["data"]["workspace"], "action": "score"}
        job = api.ask("POST", "/api/v1/jobs", json=asked, role="participant", subject=subject)
        assert job.status_code == 202, job.text


def test_a_participant_needs_a_base(api: ApiSite) -> None:
    answer = sent(api, tar_of(PREDICTIONS), role="participant")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert "?base=WORKSPACE" in answer.json()["error"]["message"]
    assert list(api.home.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "reference/gt.csv",
        "input/test.csv",
        "meta.json",
        "image.tar/x",
        "image.tar.gz/meta.json",
        "Output/pred.csv",
        "output",
        "image.tgz",
        "./reference/gt.csv",
    ],
)
def test_with_a_base_only_outputs_and_images_may_come(api: ApiSite, name: str) -> None:
    base = api.name(api.workspace())
    before = everything(api.home)
    answer = sent(api, tar_of({name: b"x"}), base=base, role="participant")
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["code"] == "ARCHIVE_INVALID"
    assert everything(api.home) - before <= {"submissions", "submissions/ada"}


@pytest.mark.parametrize("name", ["image.tar", "image.tar.gz"])
def test_an_image_may_come_with_a_base(api: ApiSite, name: str) -> None:
    base = api.name(api.workspace())
    made = sent(api, tar_of({name: b"x"}), base=base, role="participant").json()["data"]["workspace"]
    assert (api.home / made / name).read_bytes() == b"x"
    assert (api.home / made / "output").is_dir()


@pytest.mark.parametrize(
    "name",
    [
        ".attempts/1/out/x",
        ".autoscorer.lock",
        ".autoscorer.lock.abc",
        "logs/container.log",
        "logs/container.json",
        "output/result.json",
        "output/artifacts/x.csv",
        "result.json",
        "./logs/x",
    ],
)
def test_names_of_ours_are_refused_by_name(api: ApiSite, name: str) -> None:
    answer = sent(api, tar_of(whole_workspace() | {name: b"{}"}))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "ARCHIVE_INVALID")
    assert name in error["details"]["member"]


def test_data_may_be_called_like_a_result(api: ApiSite) -> None:
    assert sent(api, tar_of(whole_workspace() | {"input/result.json": b"{}"})).status_code == 201


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a parent": lambda: tar_of({"../x": b""}),
    "a link": lambda: tar_of([(special("output", b"2", "/"), b"")]),
    "a hard link": lambda: tar_of([(special("output", b"1", "meta.json"), b"")]),
    "a device": lambda: tar_of([(special("output", b"4"), b"")]),
    "no archive": lambda: b"hello",
    "nothing": lambda: b"",
    "cut off": lambda: gzip.compress(tar_of(PREDICTIONS))[:-8],
    "its own folder around it": lambda: tar_of({"w/meta.json": b"{}", "w/input/x": b""}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_and_nothing_of_it_kept(api: ApiSite, case: str) -> None:
    answer = sent(api, HOSTILE[case]())
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "ARCHIVE_INVALID")
    assert str(api.home) not in answer.text
    assert everything(api.home) <= {"workspaces"}
    assert len(api.service.streams) == 0


@pytest.mark.parametrize("base", ["absent", "../x", "/etc", "w0/../w0", "w0/input", "", ".", "submissions"])
def test_an_odd_base_is_none(api: ApiSite, base: str) -> None:
    api.workspace()
    answer = sent(api, tar_of(PREDICTIONS), base=base, role="participant")
    assert answer.status_code in (400, 404), answer.text


def test_what_is_wrong_with_a_base_is_not_for_participants_to_read(api: ApiSite) -> None:
    base = api.workspace()
    (base / "meta.json").write_text('{"secret_answer": 42}')
    told = {}
    for role in ("participant", "organiser"):
        answer = sent(api, tar_of(PREDICTIONS), base=api.name(base), role=role)
        assert answer.status_code == 422
        told[role] = answer.text
    assert "secret_answer" in told["organiser"]
    assert "secret_answer" not in told["participant"]


def test_a_form_is_refused_with_what_to_do(api: ApiSite) -> None:
    answer = api.ask("POST", UPLOADS, files={"file": ("w.tar", tar_of(whole_workspace()))})
    assert answer.status_code == 415
    assert "--data-binary" in answer.text


@pytest.fixture
def small(tmp_path: Path) -> Iterator[ApiSite]:
    made = make_api_site(tmp_path, UPLOAD_MAX_BYTES="64Ki", UPLOAD_MAX_FILES="10")
    yield made
    close_api_site(made)


def test_more_bytes_than_allowed_are_refused_whether_announced_or_not(small: ApiSite) -> None:
    content = os.urandom(70_000)
    for body in (content, iter([content[:40_000], content[40_000:]])):
        answer = sent(small, body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "TOO_LARGE")
    assert everything(small.home) <= {"workspaces"}


def test_what_unpacks_to_more_than_allowed_is_refused(small: ApiSite) -> None:
    bomb = tar_of({"input/zeros": bytes(200_000)}, packed=True)
    assert len(bomb) < 64 * 2**10
    answer = sent(small, bomb)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "ARCHIVE_INVALID")
    many = sent(small, zip_of({f"input/{number}": b"" for number in range(11)}))
    assert "more than 10" in many.json()["error"]["message"]
    assert everything(small.home) <= {"workspaces"}


def test_an_upload_stops_before_the_disk_is_full(api: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(api.home)
    object.__setattr__(api.service.settings, "min_free_disk_bytes", 10**6)

    def free(_folder: Any) -> Any:
        return usage._replace(free=10**6 + 30)

    assert sent(api, tar_of(whole_workspace())).status_code == 201  # the control: with room it goes
    monkeypatch.setattr("autoscorer.intake.room.shutil.disk_usage", free)
    answer = sent(api, tar_of({"input/large": bytes(5000)}))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["cause"]) == (
        503,
        "RESOURCE_UNAVAILABLE",
        "disk",
    )
    assert len(list((api.home / "workspaces").iterdir())) == 1


def test_a_sender_that_goes_away_leaves_nothing(api: ApiSite) -> None:
    with live(api) as served:
        with served.connect() as sender:
            host = served.url.removeprefix("http://")
            sender.sendall(
                f"POST {UPLOADS} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {api.token()}\r\n"
                "Content-Length: 100000\r\n\r\n".encode()
                + bytes(2000)
            )
            until(lambda: len(api.service.streams) == 1)
        served.until_no_stream()
    assert everything(api.home) <= {"workspaces"}


def test_what_a_killed_upload_left_is_swept_but_not_one_under_way(api: ApiSite) -> None:
    below = api.home / "workspaces"
    under_way = Upload(below, api.service.settings)
    with under_way:
        dead = below / ".dead.part"
        dead.mkdir()
        fresh = below / ".fresh.part"
        fresh.mkdir()
        old = time.time() - 2 * 3600
        for part in below.glob(".*.part"):
            if part != fresh:
                os.utime(part, (old, old))
        sweep(below)
        assert not dead.exists()
        assert fresh.exists()
        assert len(list(below.iterdir())) == 2
    assert list(below.iterdir()) == [fresh]
    remove_tree(fresh)


def test_too_many_uploads_at_once_are_refused(api: ApiSite) -> None:
    api.token()
    token_id = api.store.access.tokens(api.organisation("default"))[0].token_id
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(api.service.streams.held(token_id))
            except AutoscorerError:
                break
        answer = sent(api, tar_of(whole_workspace()))
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "RATE_LIMITED")
    assert sent(api, tar_of(whole_workspace())).status_code == 201
