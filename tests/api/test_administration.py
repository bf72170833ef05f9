"""Tokens, organisations, callbacks, the queue; and that no secret is in any answer."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from autoscorer.store.records import Presence
from tests.api.cases import ROWS
from tests.api.sites import ApiSite, close_api_site, make_api_site

TOKENS, ORGANISATIONS, CALLBACKS = "/api/v1/tokens", "/api/v1/organisations", "/api/v1/callbacks"


def test_a_tokens_secret_is_told_once_and_works_until_it_is_revoked(api: ApiSite) -> None:
    answer = api.ask("POST", TOKENS, json={"subject": "eve", "role": "participant", "valid_days": 1})
    assert answer.status_code == 201
    made = answer.json()["data"]
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert api.client.get("/api/v1/jobs", headers=headers).status_code == 200
    listed = api.ask("GET", TOKENS)
    assert made["secret"] not in listed.text
    assert {found["token_id"]: found["secret"] for found in listed.json()["data"]["tokens"]}[
        made["token_id"]
    ] is None
    for _ in range(2):
        revoked = api.ask("DELETE", f"{TOKENS}/{made['token_id']}")
        assert revoked.json()["data"]["revoked_at"] is not None
    assert api.client.get("/api/v1/jobs", headers=headers).status_code == 401


@pytest.mark.parametrize("role", ["operator"])
def test_nobody_grants_more_than_they_have(api: ApiSite, role: str) -> None:
    answer = api.ask("POST", TOKENS, json={"subject": "eve", "role": role})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert api.ask("POST", TOKENS, json={"subject": "eve", "role": role}, role="operator").status_code == 201


def test_another_organisation_is_like_none_but_for_operators(api: ApiSite) -> None:
    api.organisation("other")
    for method, part in (("GET", "params"), ("POST", "json")):
        body = {"subject": "eve", "role": "viewer"} if method == "POST" else {}
        told = []
        for name in ("other", "absent"):
            asked: dict[str, Any] = {part: {**body, "organisation": name}}
            answer = api.ask(method, TOKENS, **asked)
            told.append((answer.status_code, answer.json()["error"]["message"].replace(name, "X")))
        assert told[0] == told[1]
        assert told[0][0] == 404
        asked = {part: {**body, "organisation": "other"}}
        allowed = api.ask(method, TOKENS, role="operator", **asked)
        assert allowed.status_code in (200, 201)


@pytest.mark.parametrize("token_id", ["x", "..", "%00", "0" * 36, "as_" + "x" * 43, "%2e%2e%2fjobs"])
def test_an_odd_token_is_none(api: ApiSite, token_id: str) -> None:
    answer = api.ask("DELETE", f"{TOKENS}/{token_id}", role="operator")
    assert answer.status_code in (404, 405), answer.text


def test_an_organisation_is_made_once(api: ApiSite) -> None:
    made = api.ask("POST", ORGANISATIONS, json={"name": "acme"}, role="operator")
    assert made.json()["data"]["folder"] == "organisations/acme"
    again = api.ask("POST", ORGANISATIONS, json={"name": "acme"}, role="operator")
    assert (again.status_code, again.json()["error"]["details"]["cause"]) == (409, "name")
    listed = api.ask("GET", ORGANISATIONS, role="operator").json()["data"]["organisations"]
    assert {found["name"]: found["folder"] for found in listed} == {
        "default": ".",
        "acme": "organisations/acme",
    }


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a" * 64, "a b", "é", "a\n", "organisations/x"])
def test_an_organisation_with_an_odd_name_is_not_made(api: ApiSite, name: str) -> None:
    answer = api.ask("POST", ORGANISATIONS, json={"name": name}, role="operator")
    assert answer.status_code == 400


def test_a_dead_callback_is_seen_and_sent_again(api: ApiSite) -> None:
    job = api.job(callback_url="https://ui.example/done")
    api.store.jobs.cancel(job.task_id, by="ada")
    claimed = api.store.callbacks.claim(worker="w")
    assert claimed is not None
    api.store.callbacks.failed(claimed, message="it answers 500", retry_in_s=None)
    (dead,) = api.ask("GET", CALLBACKS, params={"state": "dead"}).json()["data"]["callbacks"]
    assert (dead["task_id"], dead["last_error"], dead["tries"]) == (job.task_id, "it answers 500", 1)
    sent = api.ask("POST", f"{CALLBACKS}/{dead['callback_id']}/resend").json()["data"]
    assert sent["state"] == "pending"
    assert api.ask("GET", CALLBACKS, params={"state": "dead"}).json()["data"]["callbacks"] == []
    assert api.ask("GET", CALLBACKS, organisation="other").json()["data"]["callbacks"] == []


@pytest.mark.parametrize("callback_id", ["x", "..", "%00", "0" * 36, "%2e%2e%2fx"])
def test_an_odd_callback_is_none(api: ApiSite, callback_id: str) -> None:
    answer = api.ask("POST", f"{CALLBACKS}/{callback_id}/resend", role="operator")
    assert answer.status_code in (404, 405)


def test_the_queue_is_counted_by_state(api: ApiSite) -> None:
    assert api.ask("GET", "/api/v1/queue").json()["data"] == {"queues": {}, "workers": {}}
    api.job()
    api.job(queue="gpu")
    api.store.work.claim(queues=("gpu",), worker="w")
    counted = api.ask("GET", "/api/v1/queue", role="viewer").json()["data"]["queues"]
    assert counted == {"cpu": {"queued": 1}, "gpu": {"running": 1}}


def test_who_waits_can_see_whether_anybody_takes_jobs(api: ApiSite) -> None:
    for name, queues, paused in (
        ("a", ("cpu", "score"), None),
        ("b", ("cpu",), None),
        ("c", ("gpu",), "disk"),
    ):
        api.store.workers.report(Presence(worker_id=name, machine="m", queues=queues, slots=2, paused=paused))
    counted = api.ask("GET", "/api/v1/queue", role="participant").json()["data"]
    assert counted == {"queues": {}, "workers": {"cpu": 2, "score": 1}}


def planted() -> dict[str, str]:
    """Settings that hold secrets, each of which can be recognised."""
    word = {name: f"planted{name}{secrets.token_hex(8)}" for name in "abcdefgh"}
    return {
        "CELERY_BROKER": f"redis://:{word['a']}@localhost:6379/0",
        "CELERY_BACKEND": f"redis://:{word['b']}@localhost:6379/1",
        "METRICS_TOKEN": word["c"] + "0" * 16,
        "CALLBACK_SECRET": f"whsec_{word['d']}{'A' * 40}",
        "SERVICE_TOKEN": word["e"],
        "K8S_TOKEN": word["f"],
        "UNRELATED_PASSWORD": word["g"],
        "REGISTRY_AUTH": json.dumps({"registry.example": {"username": "u", "password": word["h"]}}),
    }


def test_ten_secrets_are_found_in_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = planted()
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    words = [text[: text.find("planted") + 24][text.find("planted") :] for text in environ.values()]
    api = make_api_site(tmp_path, RATE_LIMIT="0", **environ)
    try:
        tokens = [api.token(role) for role in ("operator", "organiser", "participant")]
        known = " ".join(api.service.settings.secrets())
        assert all(word in known for word in words[:6])  # the control: they were read
        folder = api.workspace()
        job = api.job(folder, callback_url="https://ui.example/done")
        api.drain()
        answers = []
        for row in ROWS:
            for role in ("operator", "organiser", "participant"):
                if row.method not in ("GET", "HEAD") and row.path.startswith("/scorers"):
                    continue
                path = row.path.replace("{task_id}", job.task_id).replace("{name}", "per_label")
                given: Any = dict(row.ask(api, job))
                answer = api.ask(row.method, path, role=role, **given)
                answers.append(answer.text + json.dumps(dict(answer.headers)))
                odd = api.ask(row.method, path, role=role, content=b"{", params={"x": "y"})
                answers.append(odd.text)
        assert len(answers) > 150
        for text in answers:
            for word in words:
                assert word not in text
            for token in tokens:
                assert token not in text
        log = api.ask("GET", f"/api/v1/jobs/{job.task_id}/log", params={"log": "job"}).text
        assert not [word for word in words if word in log]
    finally:
        close_api_site(api)
