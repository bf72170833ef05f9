"""A retry is a submission again: what may not be submitted is not retried either."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from autoscorer.intake import submitting
from autoscorer.store.leases import lease_of
from autoscorer.store.records import Job
from autoscorer.store.transitions import JobState
from autoscorer.utils.errors import make_error
from tests.api.sites import ApiSite, close_api_site, make_api_site


def _own_job(api: ApiSite, **fields: Any) -> Job:
    folder = api.site.workspace(below=api.home / "submissions" / "ada")
    return api.job(folder, **{"backend": "auto", **fields})


def _ask(api: ApiSite, job: Job, what: str, *, role: str = "participant", subject: str = "ada") -> int:
    path = f"/api/v1/jobs/{job.task_id}/{what}"
    status: int = api.ask("POST", path, role=role, subject=subject).status_code
    return status


@pytest.mark.parametrize("while_running", [False, True])
def test_what_an_organiser_has_cancelled_is_not_the_participants_to_retry(
    api: ApiSite, monkeypatch: pytest.MonkeyPatch, while_running: bool
) -> None:
    job = _own_job(api)
    claimed = api.store.work.claim(queues=("cpu",), worker="w") if while_running else None
    assert _ask(api, job, "cancel", role="organiser", subject="olga") == 200
    assert _ask(api, job, "cancel") == 200  # afterwards, to pass for the one who did it
    if claimed is not None:
        error = make_error("execution", "CANCELLED", "stopped")
        api.store.work.fail(lease_of(claimed), error=error)
    assert api.state(job.task_id).state is JobState.CANCELLED
    assert _ask(api, job, "retry") == 403
    monkeypatch.setattr(submitting, "check_cancelled_by", lambda *_: None)
    assert _ask(api, job, "retry") == 202  # control
    monkeypatch.undo()
    assert _ask(api, job, "cancel") == 200
    assert (_ask(api, job, "retry"), _ask(api, job, "retry")) == (202, 409)


def test_an_organiser_retries_what_was_cancelled_whoever_did(api: ApiSite) -> None:
    job = _own_job(api)
    assert _ask(api, job, "cancel", role="organiser", subject="olga") == 200
    assert _ask(api, job, "retry", role="organiser", subject="otto") == 202
    assert _ask(api, job, "cancel") == 200
    assert _ask(api, job, "retry") == 202  # one's own cancel, after the retry


@pytest.mark.parametrize("fields", [{"backend": "stub"}, {"priority": 5}, {"params": {"beta": 2}}])
def test_a_participant_retries_nothing_that_they_might_not_submit(
    api: ApiSite, fields: dict[str, Any]
) -> None:
    refused, fine = _own_job(api, **fields), _own_job(api)
    for job, status in ((refused, 403), (fine, 202)):
        assert _ask(api, job, "cancel") == 200
        assert _ask(api, job, "retry") == status
    assert _ask(api, refused, "retry", role="organiser") == 202


def test_limits_that_were_lowered_hold_for_a_retry(api: ApiSite) -> None:
    job = _own_job(api)
    meta = api.home / job.workspace / "meta.json"
    text = meta.read_text()
    assert _ask(api, job, "cancel") == 200
    meta.write_text(text.replace('{"job_id"', '{"resources": {"cpu": 4096}, "job_id"'))
    assert _ask(api, job, "retry") == 422
    meta.write_text(text)
    assert _ask(api, job, "retry") == 202


def _cancelled_one_by_one(api: ApiSite, *, number: int) -> list[Job]:
    jobs = []
    for _ in range(number):
        jobs.append(_own_job(api))
        assert _ask(api, jobs[-1], "cancel") == 200
    return jobs


def _again(api: ApiSite, job: Job, way: str, **who: Any) -> Any:
    if way == "retry":
        return api.ask("POST", f"/api/v1/jobs/{job.task_id}/retry", **who)
    asked = {"workspace": job.workspace, "action": "score"}
    return api.ask("POST", "/submit", json=asked, **who)


@pytest.mark.parametrize("way", ["retry", "submit"])
@pytest.mark.parametrize(("most", "accepted"), [("2", 2), ("0", 4)])  # control: 0 is no bound
def test_no_more_old_submissions_are_open_again_than_new_ones_may_be(
    tmp_path: Path, way: str, most: str, accepted: int
) -> None:
    api = make_api_site(tmp_path, MAX_OPEN_SUBMISSIONS=most)
    ada = {"role": "participant", "subject": "ada"}
    jobs = _cancelled_one_by_one(api, number=4)
    answers = [_again(api, job, way, **ada) for job in jobs]
    assert sum(answer.status_code < 300 for answer in answers) == accepted
    if accepted < len(jobs):
        error = answers[-1].json()["error"]
        assert (error["code"], error["details"]["setting"]) == ("LIMIT_EXCEEDED", "MAX_OPEN_SUBMISSIONS")
        assert _again(api, jobs[0], "submit", **ada).json()["data"]["running"] is True  # no other one
        assert _again(api, jobs[3], way, subject="olga").status_code < 300  # an organiser's to decide
    close_api_site(api)


@pytest.mark.parametrize("way", ["retry", "submit"])
def test_old_submissions_that_come_at_once_are_counted_too(tmp_path: Path, way: str) -> None:
    api = make_api_site(tmp_path, MAX_OPEN_SUBMISSIONS="2")
    jobs = _cancelled_one_by_one(api, number=8)
    ada = {"role": "participant", "subject": "ada"}
    api.token("participant")
    with api.client, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: _again(api, job, way, **ada).status_code, jobs))
    assert sum(status < 300 for status in found) == 2
    close_api_site(api)


def test_an_older_job_of_a_submission_that_is_retried_counts_as_open(tmp_path: Path) -> None:
    api = make_api_site(tmp_path, MAX_OPEN_SUBMISSIONS="1")
    first, other = _cancelled_one_by_one(api, number=2)
    later = api.job(api.home / first.workspace, backend="auto")
    assert _ask(api, later, "cancel") == 200
    assert (_ask(api, first, "retry"), _ask(api, other, "retry")) == (202, 422)
    assert _ask(api, first, "cancel") == 200
    assert _ask(api, other, "retry") == 202
    close_api_site(api)


def test_an_upload_without_a_job_is_open_already_and_may_have_its_first(tmp_path: Path) -> None:
    api = make_api_site(tmp_path, MAX_OPEN_SUBMISSIONS="1")
    below = api.home / "submissions" / "ada"
    uploads = [api.name(api.site.workspace(below=below)) for _ in range(2)]  # the bound was lowered since
    for name in uploads:
        asked = {"workspace": name, "action": "score"}
        assert api.ask("POST", "/submit", json=asked, role="participant").status_code == 202
    close_api_site(api)
