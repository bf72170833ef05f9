"""PostgreSQL goes away under jobs and requests: they are told so, and all goes on when it is back."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscorer.store.transitions import JobState
from tests.api.sites import close_api_site, make_api_site
from tests.store.postgres import Server
from tests.worker.counts import Counts
from tests.worker.sites import ended, state_of, until
from tests.worker.stub import starts

pytestmark = [pytest.mark.slow, pytest.mark.postgres]


def test_requests_are_told_to_come_back_and_jobs_under_way_end_with_their_first_attempt(
    tmp_path: Path, database: Server, counts: Counts
) -> None:
    counts.fault, counts.faults, counts.broker = "PostgreSQL restarted with jobs under way", 1, ""
    api = make_api_site(tmp_path, url=database.url())
    folders = [api.workspace(program) for program in ("wait", "good", "good")]
    asked = [{"workspace": api.name(folder), "backend": "stub"} for folder in folders]
    with api.working():
        task_ids = [api.ask("POST", "/api/v1/jobs", json=one).json()["data"]["task_id"] for one in asked]
        jobs = {folder: api.state(one) for folder, one in zip(folders, task_ids, strict=True)}
        until(lambda: starts(folders[0]), what="the first runs")
        job_path = f"/api/v1/jobs/{task_ids[0]}"
        assert api.ask("GET", job_path).status_code == 200, "control: it is answered"
        counts.controls = 1
        database.stop()
        for method, path, body in (
            ("GET", job_path, None),
            ("GET", "/api/v1/jobs", None),
            ("POST", "/api/v1/jobs", asked[0]),
            ("POST", f"{job_path}/cancel", None),
        ):
            answer = api.ask(method, path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "STORE_UNAVAILABLE"), path
            assert int(answer.headers["Retry-After"]) > 0
            assert "psycopg" not in answer.text
        assert api.client.get("/healthz").status_code == 200
        assert api.client.get("/readyz").status_code == 503
        (folders[0] / "release").touch()
        database.start()
        until(lambda: api.ask("GET", job_path).status_code == 200, what="it is answered again")
        until(lambda: all(ended(api.store, job) for job in jobs.values()), what="the jobs end")
        assert api.client.get("/readyz").status_code == 200
    for job in jobs.values():
        found = state_of(api.store, job)
        assert (found.state, found.attempt) == (JobState.SUCCEEDED, 1)
    counts.count(api.site, api.store, jobs)
    close_api_site(api)
    counts.check()
