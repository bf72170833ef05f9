"""A retry is a submission again: what may not be submitted is not retried either."""

from __future__ import annotations

from typing import Any

import pytest

from autoscorer.intake import submitting
from autoscorer.store.leases import lease_of
from autoscorer.store.records import Job
from autoscorer.store.transitions import JobState
from autoscorer.utils.errors import make_error
from tests.api.sites import ApiSite


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
