"""What the client makes of answers, good, bad and none; and what it sends again."""

from __future__ import annotations

import traceback
from contextlib import suppress

import pytest

from autoscorer.client import Client
from autoscorer.client.connection import Connection
from autoscorer.utils.errors import AutoscorerError, Blame
from tests.client.conftest import TOKEN
from tests.client.stub import (
    JOB,
    Reply,
    Stub,
    dripping,
    dropped,
    garbage,
    ok,
    raw,
    refused,
    serving,
    silent,
)

pytestmark = pytest.mark.slow  # a server each

ONE = "GET /api/v1/jobs/t1"
MANY = "POST /api/v1/jobs"
RETRY = "POST /api/v1/jobs/t1/retry"


def refusal_of(client: Client) -> AutoscorerError:
    with pytest.raises(AutoscorerError) as caught:
        client.job("t1")
    return caught.value


def test_a_job_is_what_the_service_says_of_it(stub: Stub, client: Client) -> None:
    stub.on(ONE, ok(JOB))
    job = client.job("t1")
    assert (job.task_id, job.state, job.told.zh, job.is_final) == ("t1", "queued", "等待。", False)
    [asked] = stub.requests(ONE)
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"


def test_what_a_newer_service_says_besides_is_passed_over(stub: Stub, client: Client) -> None:
    stub.on(ONE, ok({**JOB, "mood": "good"}))
    assert client.job("t1").task_id == "t1"


def test_a_service_that_says_less_than_we_need_is_named_with_what_is_missing(
    stub: Stub, client: Client
) -> None:
    stub.on(ONE, ok({key: value for key, value in JOB.items() if key != "state"}))
    error = refusal_of(client)
    assert error.code == "SERVICE_UNREACHABLE"
    assert "state" in error.message


def test_an_error_has_the_services_code_cause_and_blame(stub: Stub, client: Client) -> None:
    stub.on(ONE, refused("MISSING_FILE", 422, cause="reference", stage="scoring", file="gt.csv"))
    error = refusal_of(client)
    assert (error.code, error.cause, error.blame, error.stage) == (
        "MISSING_FILE",
        "reference",
        Blame.ORGANISER,
        "scoring",
    )
    assert (error.details["file"], error.details["request_id"]) == ("gt.csv", "r1")
    assert len(stub.asked) == 1


def test_a_code_that_only_a_newer_service_knows_keeps_its_blame_and_hint(stub: Stub, client: Client) -> None:
    hint = {"en": "Do that.", "zh": "那样做。"}
    stub.on(ONE, refused("MOON_IS_FULL", 422, blame="participant", cause="tide", hint=hint))
    error = refusal_of(client)
    assert (error.code, error.cause, error.blame) == ("MOON_IS_FULL", "tide", Blame.PARTICIPANT)
    assert error.row is not None
    assert (error.row.hint_en, error.row.hint_zh) == ("Do that.", "那样做。")


def test_a_cause_that_only_a_newer_service_knows_is_kept(stub: Stub, client: Client) -> None:
    stub.on(ONE, refused("CONFLICT", 409, blame="nobody", cause="season"))
    assert (refusal_of(client).cause, refusal_of(client).blame) == ("season", Blame.NOBODY)


def test_when_nobody_is_there_the_address_and_what_to_do_are_named(stub: Stub, client: Client) -> None:
    stub.close()
    error = refusal_of(client)
    assert (error.code, error.blame) == ("SERVICE_UNREACHABLE", Blame.OPERATOR)
    assert stub.url in error.message
    assert "refused" in error.message
    assert error.row is not None
    assert "autoscorer serve" in error.row.hint_en


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(raw(b"<html>502 Bad Gateway</html>", status=502, kind="text/html"), id="a proxy's page"),
        pytest.param(raw(b"[1]"), id="JSON of another kind"),
        pytest.param(raw(b'{"ok": true, "data": [1]}'), id="an envelope without an object"),
        pytest.param(
            raw(b'{"ok": false, "data": {}, "error": {"code": 7}}', status=500), id="a broken error"
        ),
        pytest.param(raw(b"{" * 100_000), id="nested without end"),
        pytest.param(raw(b"", status=302, headers={"Location": "http://127.0.0.1:9/"}), id="a redirect"),
        pytest.param(raw(b'{"ok":', announced=1000), id="cut off in the middle"),
        pytest.param(garbage, id="no HTTP"),
        pytest.param(dropped, id="no answer"),
    ],
)
def test_what_no_autoscorer_answers_is_an_unreachable_service(
    reply: Reply, stub: Stub, client: Client
) -> None:
    stub.on(ONE, reply)
    error = refusal_of(client)
    assert error.code == "SERVICE_UNREACHABLE"
    assert f"{stub.url}/api/v1/jobs/t1" in error.message


@pytest.mark.slow
@pytest.mark.parametrize("reply", [silent, dripping])
def test_an_answer_that_does_not_come_in_time_is_given_up(reply: Reply, stub: Stub) -> None:
    stub.on(ONE, reply)
    with Client(stub.url, TOKEN) as client:
        client._connection.close()
        client._connection = Connection(stub.url, TOKEN, timeout_s=0.3, sleep=lambda _s: None)
        error = refusal_of(client)
    assert error.code == "SERVICE_UNREACHABLE"
    assert "0.3 s" in error.message


def test_an_answer_without_end_is_not_kept(
    stub: Stub, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.on(ONE, raw(b" " * 5000))
    monkeypatch.setattr("autoscorer.client.connection.MAX_ANSWER_BYTES", 1000)
    assert "more than 1000 bytes" in refusal_of(client).message


def test_a_passing_fault_is_tried_again_with_growing_pauses(
    stub: Stub, client: Client, pauses: list[float]
) -> None:
    busy = refused("STORE_UNAVAILABLE", 503)
    stub.on(ONE, busy, dropped, busy, ok(JOB))
    assert client.job("t1").task_id == "t1"
    assert len(pauses) == 3
    # doubling from 0.2 s, with up to 0.2 s of jitter
    assert all(low <= pause <= low + 0.2 for low, pause in zip((0.2, 0.4, 0.8), pauses, strict=True))


def test_a_fault_that_stays_is_told_after_four_tries(stub: Stub, client: Client) -> None:
    stub.on(ONE, refused("STORE_UNAVAILABLE", 503))
    assert refusal_of(client).details["tries"] == 4
    assert len(stub.asked) == 4


def test_the_service_is_asked_again_no_sooner_than_it_asks_for(
    stub: Stub, client: Client, pauses: list[float]
) -> None:
    stub.on(ONE, refused("RATE_LIMITED", 429, headers={"Retry-After": "17"}), ok(JOB))
    client.job("t1")
    assert pauses == [17.0]


@pytest.mark.parametrize("asked", ["99999", "Wed, 21 Oct 2037 07:28:00 GMT", "-1", "nan"])
def test_a_wait_out_of_all_proportion_is_not_waited_for(
    asked: str, stub: Stub, client: Client, pauses: list[float]
) -> None:
    stub.on(ONE, refused("RATE_LIMITED", 429, headers={"Retry-After": asked}), ok(JOB))
    with suppress(AutoscorerError):
        client.job("t1")
    assert sum(pauses) < 90


def test_a_submission_whose_answer_is_lost_is_sent_again_as_the_same_one(stub: Stub, client: Client) -> None:
    stub.on(MANY, dropped, ok(JOB))
    client.submit("examples/test", "score", priority=3)
    first, second = stub.requests(MANY)
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.value == second.value == {"workspace": "examples/test", "action": "score", "priority": 3}


def test_every_submission_has_a_key_of_its_own(stub: Stub, client: Client) -> None:
    stub.on(MANY, ok(JOB))
    client.submit("a")
    client.submit("a")
    client.submit("a", idempotency_key="mine")
    first, second, third = (asked.headers["idempotency-key"] for asked in stub.requests(MANY))
    assert first != second
    assert third == "mine"


def test_what_is_not_safe_to_repeat_is_sent_once(stub: Stub, client: Client) -> None:
    stub.on(RETRY, dropped, ok(JOB))
    with pytest.raises(AutoscorerError) as caught:
        client.retry("t1")
    assert caught.value.code == "SERVICE_UNREACHABLE"
    assert len(stub.requests(RETRY)) == 1


def test_what_was_refused_before_anything_was_done_is_sent_again_even_so(stub: Stub, client: Client) -> None:
    stub.on(RETRY, refused("RATE_LIMITED", 429, headers={"Retry-After": "1"}), ok(JOB))
    assert client.retry("t1").task_id == "t1"


def test_the_token_is_in_no_text_of_ours(stub: Stub, client: Client) -> None:
    texts = [repr(client), str(client), repr(client._connection), repr(vars(client))]
    for reply in (dropped, garbage, refused("UNAUTHENTICATED", 401), raw(b"x" * 10, status=500)):
        stub.on(ONE, reply)
        error = refusal_of(client)
        texts += ["".join(traceback.format_exception(error)), repr(error.to_dict())]
    assert [text for text in texts if TOKEN in text] == []
    assert TOKEN in repr(stub.asked), "control: it was sent"


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ümlaut", "nul\0"])
def test_what_cannot_be_a_token_is_refused_before_it_is_sent(token: str, stub: Stub) -> None:
    with pytest.raises(AutoscorerError) as caught:
        Client(stub.url, token)
    assert caught.value.code == "UNAUTHENTICATED"
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://x", "http://", "http://u:p@x", "http://x?a=1", "http://x:99999"]
)
def test_what_is_no_address_of_a_service_is_refused(url: str) -> None:
    with pytest.raises(AutoscorerError) as caught:
        Client(url, TOKEN)
    assert caught.value.code == "CONFIG_VALIDATION_ERROR"


@pytest.mark.parametrize("name", ["../tokens", "a/b", "..", "a?b#c", "ü", "%2e"])
def test_a_name_with_any_characters_stays_one_part_of_the_address(
    name: str, stub: Stub, client: Client
) -> None:
    with pytest.raises(AutoscorerError):
        client.job(name)
    [asked] = stub.asked
    assert asked.target.count("/") == 4
    assert asked.target.startswith("/api/v1/jobs/")
    assert asked.target.removeprefix("/api/v1/jobs/") not in ("..", "")


def test_pages_are_asked_for_as_they_are_taken(stub: Stub, client: Client) -> None:
    jobs = [{**JOB, "task_id": f"t{number}"} for number in range(4)]
    stub.on("GET /api/v1/jobs", ok({"jobs": jobs[:2], "next": 7}), ok({"jobs": jobs[2:], "next": None}))
    listed = client.jobs(states=("failed", "queued"), workspace="a b")
    assert next(listed).task_id == "t0"
    assert len(stub.asked) == 1
    assert [job.task_id for job in listed] == ["t1", "t2", "t3"]
    assert [asked.target for asked in stub.asked] == [
        "/api/v1/jobs?state=failed&state=queued&workspace=a+b&limit=100",
        "/api/v1/jobs?state=failed&state=queued&workspace=a+b&limit=100&before=7",
    ]


def test_a_proxy_of_the_environment_is_used_only_when_asked(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.on(ONE, ok(JOB))
    with serving() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with Client(stub.url, TOKEN) as client:
            client.job("t1")
        assert proxy.asked == []
        with Client(stub.url, TOKEN, trust_env=True) as client, pytest.raises(AutoscorerError):
            client.job("t1")
        assert len(proxy.asked) == 1
