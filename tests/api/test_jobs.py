from __future__ import annotations

import pytest

from autoscorer.store.clock import Instant
from autoscorer.store.sql_store import SqlStore
from tests.api.sites import ApiSite

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_a_job_is_shown_with_its_state_whose_turn_it_is_and_where_to_go_on(api: ApiSite) -> None:
    job = api.job()
    answer = api.ask("GET", f"/api/v1/jobs/{job.task_id}")
    assert answer.status_code == 200
    view = answer.json()["data"]
    assert (view["state"], view["turn"], view["is_final"]) == ("queued", "scheduler", False)
    assert view["told"]["en"]
    assert view["told"]["zh"]
    assert view["links"]["self"].endswith(f"/api/v1/jobs/{job.task_id}")
    assert view["links"]["cancel"] == view["links"]["self"] + "/cancel"


def test_a_job_of_another_organisation_is_answered_like_one_that_does_not_exist(api: ApiSite) -> None:
    job = api.job(organisation="other")
    answers = [api.ask("GET", f"/api/v1/jobs/{task_id}") for task_id in (job.task_id, UNKNOWN)]
    assert [answer.status_code for answer in answers] == [404, 404]
    told = [answer.json()["error"] for answer in answers]
    assert told[0]["message"].replace(job.task_id, "") == told[1]["message"].replace(UNKNOWN, "")
    assert api.ask("GET", f"/api/v1/jobs/{job.task_id}", organisation="other").status_code == 200


def test_a_list_of_jobs_under_way_asks_the_time_once(api: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [api.job() for _ in range(3)]
    for job in jobs:
        assert api.store.work.claim_job(job.task_id, worker="w") is not None
    asked, now = list[None](), type(api.store).now

    def counted(store: SqlStore) -> Instant:
        asked.append(None)
        return now(store)

    monkeypatch.setattr(type(api.store), "now", counted)
    api.token()
    before = len(asked)
    views = api.ask("GET", "/api/v1/jobs").json()["data"]["jobs"]
    of_the_list = len(asked) - before
    assert [view["seconds"] is None for view in views] == [False] * 3
    before = len(asked)
    api.ask("GET", f"/api/v1/jobs/{jobs[0].task_id}")
    assert of_the_list == len(asked) - before, "as often as for one job"
