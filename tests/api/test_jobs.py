from __future__ import annotations

import pytest

from autoscorer.store.clock import Instant
from autoscorer.store.leases import lease_of
from autoscorer.store.sql_store import SqlStore
from autoscorer.utils.errors import make_error
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


def test_a_jobs_links_name_a_result_exactly_where_there_is_one(api: ApiSite) -> None:
    result = {"summary": {}, "metrics": {}, "versioning": {"scorer": "s", "version": "1", "timestamp": "t"}}
    error = make_error("execution", "CONTAINER_EXIT_NONZERO", "Exit code 3")
    scored, partial, bare, cancelled, waiting = (api.job() for _ in range(5))
    leases = [api.store.work.claim_job(job.task_id, worker="w") for job in (scored, partial, bare)]
    held = [lease_of(claimed) for claimed in leases if claimed is not None]
    api.store.work.succeed(held[0], result=result)
    api.store.work.fail(held[1], error=error, result={**result, "error": error})
    api.store.work.fail(held[2], error=error)
    api.ask("POST", f"/api/v1/jobs/{cancelled.task_id}/cancel")
    listed = {job["task_id"]: job for job in api.ask("GET", "/api/v1/jobs").json()["data"]["jobs"]}
    for job, has_result in ((scored, 1), (partial, 1), (bare, 0), (cancelled, 0), (waiting, 0)):
        path = f"/api/v1/jobs/{job.task_id}"
        for links in (api.ask("GET", path).json()["data"]["links"], listed[job.task_id]["links"]):
            assert [name in links for name in ("result", "result_json")] == [has_result] * 2
        for part in ("result", "result.json"):
            assert api.ask("GET", f"{path}/{part}").status_code == (200 if has_result else 404)


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
