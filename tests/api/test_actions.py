from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from autoscorer.store.records import JobQuery
from autoscorer.store.transitions import JobState
from tests.api.sites import ApiSite

WRONG = "id,label\n1,dog\n2,dog\n"


def test_a_score_that_is_waited_for_is_answered_with_result_metrics_and_addresses(api: ApiSite) -> None:
    folder = api.workspace()
    (folder / "output" / "pred.csv").write_text((folder / "reference" / "gt.csv").read_text())
    with api.working():
        answer = api.ask("POST", "/score", json={"workspace": api.name(folder), "wait_s": 60})
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert (data["state"], data["metrics"]["f1_macro"]) == ("succeeded", 1.0)
    assert data["result"]["versioning"]["scorer"] == "classification_f1"
    assert data["links"]["result"].endswith(f"/api/v1/jobs/{data['task_id']}/result")
    alone = api.ask("GET", urlsplit(data["links"]["result_json"]).path)
    assert alone.json() == data["result"]
    assert answer.json()["meta"]["task_id"] == data["task_id"]


def test_a_pipeline_that_fails_is_answered_with_its_error_and_the_status_of_its_code(api: ApiSite) -> None:
    folder = api.workspace("exit")
    with api.working():
        answer = api.ask(
            "POST", "/pipeline", json={"workspace": api.name(folder), "backend": "stub", "wait_s": 60}
        )
    assert answer.status_code == 422
    body = answer.json()
    assert (body["ok"], body["error"]["code"]) == (False, "CONTAINER_EXIT_NONZERO")
    assert body["data"]["state"] == "failed"
    assert body["error"]["details"]["hint"]["zh"]
    assert body["data"]["turn"] == body["error"]["details"]["blame"]


def test_a_job_that_takes_longer_is_answered_with_its_task(api: ApiSite) -> None:
    answer = api.ask("POST", "/score", json={"workspace": api.name(api.workspace()), "wait_s": 0.05})
    assert answer.status_code == 202
    assert answer.headers["location"] == answer.json()["data"]["links"]["self"]
    task = api.ask("GET", f"/tasks/{answer.json()['data']['task_id']}")
    assert task.json()["data"]["state"] == "queued"


def test_a_service_that_stops_lets_nobody_wait(api: ApiSite) -> None:
    api.service.stopping.set()
    answer = api.ask("POST", "/score", json={"workspace": api.name(api.workspace()), "wait_s": 600})
    assert answer.status_code == 202


def test_submit_says_which_job_the_workspace_has_already(api: ApiSite) -> None:
    asked = {"workspace": api.name(api.workspace()), "action": "pipeline"}
    first = api.ask("POST", "/submit", json=asked)
    again = api.ask("POST", "/submit", json={**asked, "workspace": f"./{asked['workspace']}/"})
    task_id = first.json()["data"]["task_id"]
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["data"] == {"submitted": True, "running": False, "task_id": task_id}
    assert again.json()["data"] == {"submitted": False, "running": True, "task_id": task_id}


@pytest.mark.parametrize(
    "other",
    [
        {"action": "pipeline"},
        {"params": {}},
        {"scorer": "classification_accuracy"},
        {"callback_url": "https://ui.example/hook"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_nobody_is_given_the_score_of_a_job_that_does_something_else(
    api: ApiSite, other: dict[str, Any]
) -> None:
    asked = {"workspace": api.name(api.workspace()), "action": "score"}
    task_id = api.ask("POST", "/api/v1/jobs", json=asked).json()["data"]["task_id"]
    same = api.ask("POST", "/api/v1/jobs", json={**asked, "scorer": "classification_f1"})
    assert (same.status_code, same.json()["data"]["task_id"]) == (200, task_id), (
        "control: it is what is asked"
    )
    answer = api.ask("POST", "/api/v1/jobs", json=asked | other)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["task_id"]) == (
        409,
        "WORKSPACE_BUSY",
        task_id,
    )
    waited = {name: value for name, value in (asked | other).items() if name != "action"}
    action = other.get("action", "score")
    assert api.ask("POST", f"/{action}", json={**waited, "wait_s": 0}).status_code == 409


@pytest.mark.slow
@pytest.mark.fault("100 identical POSTs at once")
def test_a_hundred_identical_posts_at_once_give_one_job(api: ApiSite) -> None:
    asked = {"workspace": api.name(api.workspace()), "action": "score"}
    api.token()
    gate = threading.Barrier(20)

    def post(number: int) -> str:
        if number < 20:
            gate.wait()
        return str(api.ask("POST", "/submit", json=asked).json()["data"]["task_id"])

    with ThreadPoolExecutor(20) as pool:
        tasks = set(pool.map(post, range(100)))
    assert len(tasks) == 1
    assert len(api.store.jobs.page(JobQuery()).jobs) == 1


def test_an_idempotency_key_gives_the_same_job_even_after_it_ended(api: ApiSite) -> None:
    headers = {"Idempotency-Key": "k1"}
    asked = {"workspace": api.name(api.workspace()), "action": "score"}
    first = api.ask("POST", "/api/v1/jobs", json=asked, headers=headers).json()["data"]
    api.store.jobs.cancel(first["task_id"], by="ada")
    again = api.ask("POST", "/api/v1/jobs", json=asked, headers=headers)
    assert (again.status_code, again.json()["data"]["task_id"]) == (202, first["task_id"])
    control = api.ask("POST", "/api/v1/jobs", json=asked)
    assert control.json()["data"]["task_id"] != first["task_id"]
    other = api.ask("POST", "/api/v1/jobs", json={**asked, "priority": 1}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "CONFLICT")


def test_one_persons_idempotency_key_means_nothing_of_anothers(api: ApiSite) -> None:
    headers = {"Idempotency-Key": "k1"}
    asked = {"workspace": api.name(api.workspace()), "action": "score"}
    first = api.ask("POST", "/api/v1/jobs", json=asked, headers=headers).json()["data"]
    api.store.jobs.cancel(first["task_id"], by="ada")
    second = api.ask("POST", "/api/v1/jobs", json=asked, headers=headers, subject="bob").json()["data"]
    assert second["task_id"] != first["task_id"]


@pytest.mark.fault("broker down when a job is submitted")
def test_a_broker_that_is_down_does_not_fail_a_submission(
    api: ApiSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(_job: object) -> None:
        raise ConnectionError("no broker")

    monkeypatch.setattr(api.service.intake.queue, "announce", down)
    answer = api.ask("POST", "/submit", json={"workspace": api.name(api.workspace()), "action": "score"})
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("action", "spec", "queue"),
    [
        ("score", {"resources": {"gpus": 2}}, "score"),
        ("run", {"resources": {"gpus": 2}}, "gpu"),
        ("pipeline", {}, "cpu"),
    ],
)
def test_a_job_goes_to_the_queue_of_what_it_needs(
    api: ApiSite, action: str, spec: dict[str, Any], queue: str
) -> None:
    asked = {"workspace": api.name(api.workspace(**spec)), "action": action}
    view = api.ask("POST", "/api/v1/jobs", json=asked).json()["data"]
    assert view["queue"] == queue
    assert (view["scorer"] is None) is (action == "run")
    assert view["scorer"] is None or view["scorer"].startswith("classification_f1@")


def test_jobs_are_listed_newest_first_in_pages_and_by_what_is_asked(api: ApiSite) -> None:
    jobs = [api.job(subject="ada" if number % 2 else "bob") for number in range(5)]
    api.store.jobs.cancel(jobs[0].task_id, by="ada")
    first = api.ask("GET", "/api/v1/jobs", params={"limit": 2}).json()["data"]
    second = api.ask("GET", "/api/v1/jobs", params={"limit": 3, "before": first["next"]}).json()["data"]
    shown = [view["task_id"] for view in first["jobs"] + second["jobs"]]
    assert shown == [job.task_id for job in reversed(jobs)]
    assert second["next"] is None
    by_state = api.ask("GET", "/api/v1/jobs", params={"state": "cancelled"}).json()["data"]["jobs"]
    assert [view["task_id"] for view in by_state] == [jobs[0].task_id]
    by_label = api.ask("GET", "/api/v1/jobs", params={"job_id": jobs[3].job_id}).json()["data"]["jobs"]
    assert [view["task_id"] for view in by_label] == [jobs[3].task_id]
    own = api.ask("GET", "/api/v1/jobs", role="participant", subject="bob").json()["data"]["jobs"]
    assert {view["submitted_by"] for view in own} == {"bob"}
    others = api.ask("GET", "/api/v1/jobs", role="participant", params={"submitted_by": "bob"})
    assert others.json()["data"]["jobs"] == []


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 201}, {"before": "x"}, {"state": "lost"}, {"stat": "x"}]
)
def test_a_list_that_cannot_be_is_refused(api: ApiSite, params: dict[str, object]) -> None:
    answer = api.ask("GET", "/api/v1/jobs", params=params)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BAD_REQUEST")


def test_a_cancelled_job_can_be_retried_and_a_running_one_not(api: ApiSite) -> None:
    job = api.job()
    cancelled = api.ask("POST", f"/api/v1/jobs/{job.task_id}/cancel").json()["data"]
    assert (cancelled["state"], cancelled["is_final"]) == ("cancelled", True)
    retried = api.ask("POST", f"/api/v1/jobs/{job.task_id}/retry")
    assert (retried.status_code, retried.json()["data"]["state"]) == (202, "queued")
    again = api.ask("POST", f"/api/v1/jobs/{job.task_id}/retry")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "CONFLICT")
    assert api.state(job.task_id).state is JobState.QUEUED


def test_a_waiting_job_says_how_many_go_first(api: ApiSite) -> None:
    first, second = api.job(), api.job()
    ahead = [api.ask("GET", f"/api/v1/jobs/{job.task_id}").json()["data"]["ahead"] for job in (first, second)]
    assert ahead == [0, 1]


def test_what_an_organisers_fault_says_is_not_for_participants(api: ApiSite) -> None:
    job = api.job(subject="ada", action="score", queue="cpu")
    (api.home / job.workspace / "reference" / "gt.csv").write_text(
        "id,label\n1,secret-label\n1,secret-label\n"
    )
    api.drain()
    told = {
        role: api.ask("GET", f"/api/v1/jobs/{job.task_id}", role=role).json()["data"]["error"]
        for role in ("organiser", "participant", "viewer")
    }
    assert {error["details"]["blame"] for error in told.values()} == {"organiser"}
    assert told["organiser"]["message"] != told["participant"]["message"]
    assert told["participant"] == told["viewer"]
    assert "faults" not in told["participant"]["details"]
