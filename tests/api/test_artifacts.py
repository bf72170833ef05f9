"""The files of a result: served as the result lists them, whole or in part, and nothing else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscorer.api.ranges import UnsatisfiableError, is_unchanged, wanted_part
from autoscorer.store.records import Job
from tests.api.sites import ApiSite, close_api_site, make_api_site

NAME = "per_label"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiSite, Job]]:
    """A job that was scored, for tests that only read."""
    made = make_api_site(tmp_path_factory.mktemp("ended"), RATE_LIMIT="0")
    yield made, scored(made)[1]
    close_api_site(made)


def scored(api: ApiSite, **fields: Any) -> tuple[Path, Job]:
    folder = api.workspace()
    job = api.job(folder, **fields)
    api.drain()
    return folder, job


def listed(api: ApiSite, job: Job, **given: Any) -> dict[str, Any]:
    answer = api.ask("GET", f"/api/v1/jobs/{job.task_id}/artifacts", **given).json()["data"]
    return {found["name"]: found for found in answer["artifacts"]}


def fetched(api: ApiSite, job: Job, name: str = NAME, method: str = "GET", **given: Any) -> Any:
    return api.ask(method, f"/api/v1/jobs/{job.task_id}/artifacts/{name}", **given)


def test_an_artifact_is_served_as_it_is_listed(api: ApiSite) -> None:
    folder, job = scored(api)
    artifact = listed(api, job)[NAME]
    answer = api.ask("GET", artifact["url"].removeprefix("http://testserver"))
    content = (folder / "output/artifacts/per_label.csv").read_bytes()
    assert (answer.status_code, answer.content) == (200, content)
    assert hashlib.sha256(answer.content).hexdigest() == artifact["sha256"]
    assert answer.headers["etag"] == f'"{artifact["sha256"]}"'
    assert answer.headers["content-length"] == str(artifact["size"])
    assert answer.headers["content-disposition"] == 'attachment; filename="per_label.csv"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"
    assert len(api.service.streams) == 0


def test_head_says_the_same_without_the_bytes(api: ApiSite) -> None:
    _folder, job = scored(api)
    whole, head = fetched(api, job), fetched(api, job, method="HEAD")
    assert head.content == b""
    for name in ("etag", "content-length", "content-type", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]


RANGES: dict[str, tuple[int, int] | int | None] = {
    "bytes=0-0": (0, 1),
    "bytes=0-": (0, 70),
    "bytes=5-9": (5, 10),
    "bytes=69-": (69, 70),
    "bytes=69-100": (69, 70),
    "bytes=-1": (69, 70),
    "bytes=-70": (0, 70),
    "bytes=-999": (0, 70),
    "BYTES=0-1": (0, 2),
    "bytes= 1-2 ": (1, 3),
    "bytes=70-": 416,
    "bytes=70-80": 416,
    "bytes=-0": 416,
    "bytes=999999999999999999-": 416,
    "bytes=9-5": None,
    "bytes=-": None,
    "bytes=": None,
    "bytes=a-b": None,
    "bytes=0-1,3-4": None,
    "bytes=1--2": None,
    "bytes=0x1-0x2": None,
    "items=0-1": None,
    "bytes=9999999999999999999999-": None,
}


@pytest.mark.parametrize("asked", RANGES)
def test_a_range_is_answered_as_the_standard_says(ended: tuple[ApiSite, Job], asked: str) -> None:
    api, job = ended
    whole = fetched(api, job).content
    assert len(whole) == 70
    answer = fetched(api, job, headers={"Range": asked})
    match RANGES[asked]:
        case (start, end):
            assert (answer.status_code, answer.content) == (206, whole[start:end])
            assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/70"
            assert answer.headers["content-length"] == str(end - start)
        case None:
            assert (answer.status_code, answer.content) == (200, whole)
            assert "content-range" not in answer.headers
        case status:
            assert answer.status_code == status
            assert answer.headers["content-range"] == "bytes */70"
            assert answer.json()["error"]["details"]["cause"] == "range"


def test_a_range_of_another_content_is_answered_with_all_of_this_one(api: ApiSite) -> None:
    _folder, job = scored(api)
    etag = fetched(api, job).headers["etag"]
    part = fetched(api, job, headers={"Range": "bytes=3-", "If-Range": etag})
    assert part.status_code == 206
    for other in ('"' + "0" * 64 + '"', f"W/{etag}", "Sat, 28 Nov 2026 16:00:00 GMT"):
        assert fetched(api, job, headers={"Range": "bytes=3-", "If-Range": other}).status_code == 200


def test_who_has_it_already_is_told_so(api: ApiSite) -> None:
    _folder, job = scored(api)
    etag = fetched(api, job).headers["etag"]
    answer = fetched(api, job, headers={"If-None-Match": f'"x", {etag}'})
    assert (answer.status_code, answer.content) == (304, b"")


@given(size=st.integers(0, 200), first=st.integers(0, 300), last=st.integers(0, 300))
def test_a_part_lies_within_the_file_and_is_the_part_asked_for(size: int, first: int, last: int) -> None:
    content = bytes(range(200))[:size]
    cases = {
        f"bytes={first}-{last}": content[first : last + 1],
        f"bytes=-{last}": content[size - min(last, size) :],
    }
    for asked, wanted in cases.items():
        try:
            part = wanted_part(size=size, etag='"x"', asked=asked, if_range=None)
        except UnsatisfiableError:
            assert not wanted
            continue
        if part is not None:
            assert content[part.start : part.end] == wanted
            assert 0 <= part.start < part.end <= size


def test_unchanged_is_told_by_the_tag_alone() -> None:
    assert is_unchanged('"a"', "*")
    assert is_unchanged('"a"', 'W/"a"')
    assert not is_unchanged('"a"', '"b"')
    assert not is_unchanged('"a"', None)


def test_what_shows_the_truth_is_not_there_for_participants_unless_allowed(api: ApiSite) -> None:
    _folder, job = scored(api)
    assert fetched(api, job, "worst_cases").status_code == 200
    for role in ("participant", "viewer"):
        assert set(listed(api, job, role=role)) == {NAME}
        hidden = fetched(api, job, "worst_cases", role=role)
        absent = fetched(api, job, "no_such_one", role=role)
        told = [answer.json()["error"] for answer in (hidden, absent)]
        assert [answer.status_code for answer in (hidden, absent)] == [404, 404]
        assert told[0]["message"].replace("worst_cases", "X") == told[1]["message"].replace(
            "no_such_one", "X"
        )
    object.__setattr__(api.service.settings, "show_truth_to_participants", True)
    assert fetched(api, job, "worst_cases", role="participant").status_code == 200


def test_a_later_jobs_files_are_never_served_for_an_earlier_one(api: ApiSite) -> None:
    folder, first = scored(api, action="score")
    before = listed(api, first)[NAME]["sha256"]
    second = api.job(folder, action="pipeline")
    api.drain()
    assert listed(api, second)[NAME]["sha256"] != before  # the control: another content lies there
    assert fetched(api, second).status_code == 200
    answer = fetched(api, first)
    assert answer.status_code == 404
    assert "another job in the same workspace has replaced them" in answer.json()["error"]["message"]


def changed(file: Path, _secret: Path) -> None:
    file.write_bytes(b"x" * file.stat().st_size)


def longer(file: Path, _secret: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")


def gone(file: Path, _secret: Path) -> None:
    file.unlink()


def a_link_to_a_secret(file: Path, secret: Path) -> None:
    file.unlink()
    file.symlink_to(secret)


def a_link_to_the_same_content(file: Path, secret: Path) -> None:
    secret.write_bytes(file.read_bytes())
    a_link_to_a_secret(file, secret)


def a_linked_folder(file: Path, secret: Path) -> None:
    secret.unlink()
    file.parent.rename(secret)
    file.parent.symlink_to(secret)


def a_pipe(file: Path, _secret: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "plant",
    [changed, longer, gone, a_link_to_a_secret, a_link_to_the_same_content, a_linked_folder, a_pipe],
)
def test_what_is_not_the_listed_file_is_not_served(
    api: ApiSite, plant: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    folder, job = scored(api)
    secret = tmp_path / "secret"
    secret.write_text("the truth")
    file = folder / "output/artifacts/per_label.csv"
    content = file.read_bytes()
    plant(file, secret)
    if file.is_file():
        assert file.read_bytes() == content or plant is not a_linked_folder  # the control: it can be read
    answer = fetched(api, job)
    assert answer.status_code == 404
    assert "the truth" not in answer.text
    assert str(tmp_path) not in answer.text


@pytest.mark.parametrize(
    "name",
    [
        "../result.json",
        "..%2fresult.json",
        "%2e%2e%2fresult.json",
        "..%5cresult.json",
        "per_label%00",
        "per_label.csv",
        "artifacts%2fper_label.csv",
        "%2fetc%2fpasswd",
        "per_label/",
        "PER_LABEL",
        "%ff",
        "",
        ".",
        "x" * 4000,
    ],
)
def test_a_name_that_is_not_listed_leads_nowhere(ended: tuple[ApiSite, Job], name: str) -> None:
    api, job = ended
    answer = fetched(api, job, name)
    if not answer.request.url.path.endswith(f"/{job.task_id}/artifacts/{name}".split("%")[0]):
        return  # the client has tidied the address up: it asked for something else
    assert answer.status_code in (307, 404) or (name == "" and answer.status_code == 200)
    assert b"f1_macro" not in answer.content


@pytest.mark.parametrize(
    "task_id", ["..", "%2e%2e", "x", "0" * 36, "%00", "../../healthz", "{task_id}", "%F0%9F%90%88"]
)
@pytest.mark.parametrize("part", ["events", "log", "result", "result.json", "artifacts", "artifacts/x"])
def test_an_odd_task_id_is_none(ended: tuple[ApiSite, Job], task_id: str, part: str) -> None:
    api, _job = ended
    answer = api.ask("GET", f"/api/v1/jobs/{task_id}/{part}")
    assert answer.status_code in (307, 400, 404), answer.text


def test_a_job_that_has_not_ended_has_no_result_nor_files(api: ApiSite) -> None:
    job = api.job()
    for part in ("result", "result.json", "artifacts", f"artifacts/{NAME}"):
        answer = api.ask("GET", f"/api/v1/jobs/{job.task_id}/{part}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")
        assert "it is queued" in answer.json()["error"]["message"]


def test_a_retried_job_does_not_show_the_result_of_its_former_attempt(api: ApiSite) -> None:
    job = api.job(api.workspace("exit"))
    api.drain()
    told = api.ask("GET", f"/api/v1/jobs/{job.task_id}/result").json()["data"]
    assert told["result"]["error"]["code"] == "CONTAINER_EXIT_NONZERO"
    api.store.jobs.retry(job.task_id, by="ada")
    assert api.ask("GET", f"/api/v1/jobs/{job.task_id}/result").status_code == 404
    cancelled = api.ask("POST", f"/api/v1/jobs/{job.task_id}/cancel").json()["data"]
    assert (cancelled["state"], "result" in cancelled["links"]) == ("cancelled", False)
    assert api.ask("GET", f"/api/v1/jobs/{job.task_id}/result").status_code == 404


def test_a_result_is_shown_to_each_as_they_may_see_it(api: ApiSite) -> None:
    _folder, job = scored(api)
    whole = api.ask("GET", f"/api/v1/jobs/{job.task_id}/result").json()["data"]
    assert whole["result"]["metrics"]["f1_macro"] == 1.0
    assert "score_digest" in whole["result"]["versioning"]
    assert whole["url"].endswith("/result.json")
    part = api.ask("GET", f"/api/v1/jobs/{job.task_id}/result", role="participant").json()["data"]
    assert part["result"]["metrics"] == whole["result"]["metrics"]
    assert not {"score_digest", "reference_sha256"} & part["result"]["versioning"].keys()
    assert set(part["result"]["artifacts"]) == {NAME}
    file = api.ask("GET", f"/api/v1/jobs/{job.task_id}/result.json")
    assert file.json() == whole["result"]
    assert file.headers["content-disposition"] == 'attachment; filename="result.json"'


@pytest.mark.parametrize("address", ["/tasks/{}", "/api/v1/jobs/{}"])
def test_a_job_that_was_scored_carries_its_metrics_and_the_addresses_of_its_files(
    api: ApiSite, address: str
) -> None:
    _folder, job = scored(api)
    for role, may_see_truth in (("organiser", True), ("participant", False)):
        data = api.ask("GET", address.format(job.task_id), role=role).json()["data"]
        assert data["metrics"]["f1_macro"] == 1.0
        assert ("score_digest" in data["result"]["versioning"]) is may_see_truth
        assert {artifact["shows_truth"] for artifact in data["artifacts"]} == {False, may_see_truth}
        for artifact in data["artifacts"]:
            file = api.ask("GET", artifact["url"], role=role)
            assert (file.status_code, len(file.content)) == (200, artifact["size"])


def test_addresses_begin_with_the_public_url(api: ApiSite) -> None:
    _folder, job = scored(api)
    object.__setattr__(api.service.settings, "public_url", "https://score.example.org/")
    url = listed(api, job)[NAME]["url"]
    assert url == f"https://score.example.org/api/v1/jobs/{job.task_id}/artifacts/{NAME}"
