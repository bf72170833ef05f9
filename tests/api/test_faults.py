from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from autoscorer.api.answers import STATUS
from autoscorer.utils.errors import code_table
from tests.api.sites import ApiSite

JSON = {"Content-Type": "application/json"}
DEEP = b'{"workspace": "w", "action": "score", "params": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}}"


def _body(params: str) -> bytes:
    return b'{"workspace": "w", "action": "score", "params": ' + params.encode() + b"}"


def test_every_code_has_one_status_and_no_status_is_of_an_unknown_code() -> None:
    known = {row.code for row in code_table()} | {f"{row.code}.{row.cause}" for row in code_table()}
    assert {row.code for row in code_table()} <= STATUS.keys() <= known


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "required"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[]", "must be a JSON object"),
        (b"null", ""),
        (DEEP, "nested too deeply"),
        (_body('{"a": NaN}'), "NaN"),
        (_body('{"a": 1e999}'), ""),
        (_body('{"a": 1, "a": 2}'), "twice"),
        (_body('{"a": "\\ud800"}'), "surrogate"),
        (_body('{"' + "a" * 70 + '": ' + "[" * 70 + "]" * 70 + "}"), "nested too deeply"),
        (b'{"workspace": "a\\u0000b", "action": "score"}', "NUL"),
        (b'{"workspace": "w", "acton": "score"}', "did you mean 'action'"),
        (b'{"workspace": "w", "action": "delete"}', "action"),
        (b'{"workspace": "w", "action": "score", "priority": 1e3}', "priority"),
        (b'{"workspace": "w", "action": "score", "priority": 101}', "priority"),
        (b'{"workspace": "", "action": "score"}', "workspace"),
        (b'{"workspace": 7, "action": "score"}', "workspace"),
    ],
)
def test_a_body_that_is_wrong_is_refused_with_what_is_wrong(api: ApiSite, content: bytes, said: str) -> None:
    answer = api.ask("POST", "/submit", headers=JSON, content=content)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["stage"]) == ("BAD_REQUEST", "api")
    assert said in error["message"]
    assert error["details"]["hint"]["zh"]


def test_every_fault_of_a_body_is_named_at_once(api: ApiSite) -> None:
    answer = api.ask("POST", "/submit", json={"workspace": "", "action": "x", "more": 1})
    fields = {fault["field"] for fault in answer.json()["error"]["details"]["faults"]}
    assert fields == {"workspace", "action", "more"}


def test_a_body_of_another_type_is_told_which_header_to_send(api: ApiSite) -> None:
    answer = api.ask("POST", "/submit", content=json.dumps({"workspace": "w", "action": "score"}))
    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]["message"]


def test_a_compressed_body_is_told_that_it_is(api: ApiSite) -> None:
    body = gzip.compress(_body("{}"))
    answer = api.ask("POST", "/submit", headers={**JSON, "Content-Encoding": "gzip"}, content=body)
    assert answer.status_code == 415
    assert "Content-Encoding: is gzip" in answer.json()["error"]["message"]


def test_an_address_that_is_not_there_is_no_matter_of_an_id(api: ApiSite) -> None:
    hints = [api.ask("GET", path).json()["error"]["details"]["hint"]["en"] for path in ("/nope", "/tasks/1")]
    assert "/docs" in hints[0]
    assert "/docs" not in hints[1]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PATCH", "/submit", 405), ("GET", "/api/v1/jobs/..%2f..%2fetc", 404)],
)
def test_what_the_router_refuses_is_in_the_envelope(
    api: ApiSite, method: str, path: str, status: int
) -> None:
    answer = api.ask(method, path)
    assert answer.status_code == status
    assert answer.json().keys() == {"ok", "status", "data", "error", "meta"}
    assert status != 405 or answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/jobs", "GET, POST"),
        ("/scorers/watch", "DELETE, GET, POST"),
        ("/tasks/x", "GET"),
        ("/api/v1/jobs/x/artifacts/y", "GET, HEAD"),
    ],
)
def test_a_refused_method_is_told_every_other(api: ApiSite, path: str, allowed: str) -> None:
    assert api.ask("PATCH", path).headers["allow"] == allowed


def test_a_fault_of_ours_is_told_without_its_words(api: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: Any) -> Any:
        raise ZeroDivisionError("the pineapple")

    monkeypatch.setattr(api.store.jobs, "page", broken)
    answer = api.ask("GET", "/api/v1/jobs")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert "pineapple" not in answer.text
    assert "Traceback" not in answer.text


def test_a_native_panic_is_one_of_ours_too(api: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicError(BaseException):
        pass

    async def broken(*_args: Any) -> Any:
        raise PanicError

    monkeypatch.setattr("autoscorer.api.routes.actions.wait_for_end", broken)
    answer = api.ask("POST", "/score", json={"workspace": api.name(api.workspace())})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL_ERROR")


@pytest.mark.parametrize(
    "task_id",
    [
        "x",
        "%00",
        "..%2f..",
        "%2e%2e",
        "00000000-0000-4000-8000-00000000000%30%0a",
        "%f0%9f%92%a9",
        "'%20or%201=1",
    ],
)
@pytest.mark.fault("parameter of an address with traversal or odd encoding")
def test_a_task_id_that_is_none_is_simply_not_there(api: ApiSite, task_id: str) -> None:
    for path in (f"/tasks/{task_id}", f"/api/v1/jobs/{task_id}"):
        assert api.ask("GET", path).status_code == 404
    assert api.ask("POST", f"/api/v1/jobs/{task_id}/cancel").status_code == 404


def test_what_is_said_of_very_many_faults_is_bounded(api: ApiSite) -> None:
    asked = {"workspace": "w", "action": "score", **{f"unknown{number}": 1 for number in range(5000)}}
    answer = api.ask("POST", "/submit", json=asked)
    assert (answer.status_code, len(answer.json()["error"]["details"]["faults"])) == (400, 20)
    assert "more" in answer.json()["error"]["message"]
    spec = {f"unknown{number}": 1 for number in range(5000)}
    answer = api.ask("POST", "/api/v1/jobs", json={"workspace": api.name(api.workspace()), "spec": spec})
    assert answer.status_code == 422
    assert len(answer.content) < 64 * 1024


def test_a_key_that_stands_twice_among_very_many_is_found_without_comparing_each_with_each(
    api: ApiSite,
) -> None:
    """Compared each with each, this many took the service minutes, and nobody else was answered."""
    many = ",".join(f'"k{number}":0' for number in range(60_000))
    answer = api.ask(
        "POST", "/submit", content=f'{{{many},"k59999":0}}', headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, "'k59999' appears twice" in answer.json()["error"]["message"]) == (400, True)
