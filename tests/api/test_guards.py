from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from autoscorer.api import rates
from autoscorer.api.guards import host_name
from autoscorer.api.rates import Rates
from tests.api.sites import ApiSite, close_api_site, make_api_site

SUBMIT = {"workspace": "w", "action": "score"}


@pytest.mark.parametrize(
    ("host", "name"),
    [("a:8000", "a"), ("A", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a:b", "a:b"), ("", "")],
)
def test_a_hosts_name_has_no_port(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "testserver"}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "rebound.example"}, 403),
        ({"Host": "localhost.rebound.example"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost"}, 200),
        ({"Host": "localhost", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
    ],
)
def test_other_names_and_pages_are_refused(api: ApiSite, headers: dict[str, str], status: int) -> None:
    answer = api.ask("GET", "/api/v1/jobs", headers=headers)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]["details"]["cause"] == "host"


def test_a_token_is_the_same_caller_however_it_is_spaced(tmp_path: Path) -> None:
    api = make_api_site(tmp_path, RATE_LIMIT="3")
    token = api.token()
    spaced = [f"Bearer{' ' * (number + 1)}{token}" for number in range(6)]
    found = [
        api.client.get("/api/v1/jobs", headers={"Authorization": text, "Host": "localhost"}).status_code
        for text in spaced
    ]
    assert found == [200] * 3 + [429] * 3
    close_api_site(api)


def test_an_allowed_page_may_call_and_its_browser_hears_so(tmp_path: Path) -> None:
    api = make_api_site(tmp_path, API_ALLOWED_ORIGINS='["https://ui.example"]')
    origin = {"Origin": "https://ui.example"}
    answer = api.ask("GET", "/api/v1/jobs", headers=origin)
    assert answer.headers["access-control-allow-origin"] == "https://ui.example"
    asks = {
        **origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    assert api.client.options("/submit", headers=asks).status_code == 200
    assert (
        api.client.options("/submit", headers={**asks, "Origin": "https://evil.example"}).status_code == 403
    )
    close_api_site(api)


def _chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 1024):
        yield b" " * 1024


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused_announced_or_not(tmp_path: Path, announced: bool) -> None:
    api = make_api_site(tmp_path, API_MAX_BODY="64Ki")
    headers = {"Content-Type": "application/json"}
    for size, code in ((32 * 1024, "BAD_REQUEST"), (128 * 1024, "TOO_LARGE")):
        content: Any = b" " * size if announced else _chunks(size)
        answer = api.ask("POST", "/submit", headers=headers, content=content)
        assert answer.json()["error"]["code"] == code, size
        assert answer.status_code == {"BAD_REQUEST": 400, "TOO_LARGE": 413}[code]
    close_api_site(api)


def test_a_token_that_asks_too_often_is_told_when_to_ask_again(tmp_path: Path) -> None:
    api = make_api_site(tmp_path, RATE_LIMIT="3")
    statuses = [api.ask("GET", "/api/v1/jobs").status_code for _ in range(3)]
    refused = api.ask("GET", "/api/v1/jobs")
    assert (statuses, refused.status_code) == ([200] * 3, 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert api.ask("GET", "/api/v1/jobs", subject="bob").status_code == 200
    assert api.client.get("/healthz").status_code == 200
    close_api_site(api)


def _statuses(api: ApiSite, tokens: Iterable[str]) -> list[int]:
    asked = ({"Authorization": f"Bearer {token}"} for token in tokens)
    return [api.client.get("/api/v1/jobs", headers=headers).status_code for headers in asked]


def test_made_up_tokens_are_counted_by_their_address(tmp_path: Path) -> None:
    api = make_api_site(tmp_path, RATE_LIMIT="3")
    real, newcomer = api.token(), api.token(subject="bob")
    assert _statuses(api, [real]) == [200]
    assert _statuses(api, [f"as_{number:043}" for number in range(6)]) == [401] * 3 + [429] * 3
    assert _statuses(api, [real] * 3) == [200, 200, 429]  # has a bucket of its own
    other = TestClient(api.app, client=("192.0.2.7", 1))
    assert other.get("/api/v1/jobs", headers={"Authorization": f"Bearer {newcomer}"}).status_code == 200
    close_api_site(api)


def test_behind_a_trusted_proxy_each_client_is_counted_by_its_own_address(tmp_path: Path) -> None:
    """Control: without the setting all of them share the proxy's; who is none cannot say so."""

    def statuses(proxy: str, clients: list[str], **settings: str) -> list[int]:
        api = make_api_site(tmp_path / str(len(list(tmp_path.iterdir()))), RATE_LIMIT="2", **settings)
        asked = TestClient(api.app, client=(proxy, 1))
        headers = [{"Authorization": "Bearer no", "X-Forwarded-For": client} for client in clients]
        found = [asked.get("/api/v1/jobs", headers=row).status_code for row in headers]
        close_api_site(api)
        return found

    flood = ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"]
    forged = [f"192.0.2.{number}, 192.0.2.1" for number in range(2, 5)]  # the proxy adds whom it sees
    trust = {"API_TRUSTED_PROXIES": "10.1.0.0/16"}
    assert statuses("10.1.2.3", flood, **trust) == [401, 401, 429, 401]
    assert statuses("10.1.2.3", forged, **trust) == [401, 401, 429]
    assert statuses("10.1.2.3", [f"{client}, 10.1.9.9" for client in flood], **trust) == [401, 401, 429, 401]
    assert statuses("10.1.2.3", flood) == [401, 401, 429, 429]
    assert statuses("10.2.2.3", flood, **trust) == [401, 401, 429, 429]
    assert statuses("::ffff:10.1.2.3", flood, **trust) == [401, 401, 429, 401]  # to who listens on ::


@pytest.mark.parametrize("proxies", ["[]", "10.1.0.0/16"])
def test_a_name_of_ones_own_is_refused_before_a_page_is_answered(tmp_path: Path, proxies: str) -> None:
    """Control: by our name the page's question is answered."""
    asked = {"Origin": "https://ui.example", "Access-Control-Request-Method": "GET"}
    api = make_api_site(tmp_path, API_ALLOWED_ORIGINS="https://ui.example", API_TRUSTED_PROXIES=proxies)
    client = TestClient(api.app, client=("10.1.2.3", 1))
    hosts = ["localhost", "evil.example"]
    answers = [client.options("/api/v1/jobs", headers={**asked, "Host": host}) for host in hosts]
    assert [answer.status_code for answer in answers] == [200, 403]
    assert "access-control-allow-origin" not in answers[1].headers
    close_api_site(api)


def test_a_refusal_does_not_tell_whether_a_token_exists(tmp_path: Path) -> None:
    api = make_api_site(tmp_path, RATE_LIMIT="1")
    assert _statuses(api, ["as_" + "0" * 43]) == [401]
    refused = []
    for token in ("as_" + "1" * 43, api.token(), "", "x"):  # made up, valid but not seen, absent, no token
        answer = api.client.get("/api/v1/jobs", headers={"Authorization": f"Bearer {token}"})
        error = answer.json()["error"]
        refused.append((answer.status_code, sorted(answer.headers), error["message"].split(";")[0]))
        assert "token" not in error["message"]
    assert refused == [refused[0]] * 4
    assert refused[0][0] == 429
    close_api_site(api)


def test_made_up_tokens_do_not_push_a_real_ones_count_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_CALLERS", 5)
    api = make_api_site(tmp_path, RATE_LIMIT="3")
    real = api.token()
    assert _statuses(api, [real] * 4) == [200] * 3 + [429]
    for number in range(20):
        elsewhere = TestClient(api.app, client=(f"192.0.2.{number}", 1))
        headers = {"Authorization": f"Bearer as_{number:043}"}
        assert elsewhere.get("/api/v1/jobs", headers=headers).status_code == 401
    assert _statuses(api, [real]) == [429]
    # Control: valid ones do take its place.
    assert _statuses(api, [api.token(subject=f"s{number}") for number in range(5)]) == [200] * 5
    assert _statuses(api, [real]) == [200]
    close_api_site(api)


def test_a_token_that_is_revoked_is_counted_by_its_address(tmp_path: Path) -> None:
    api = make_api_site(tmp_path, RATE_LIMIT="3")
    operator, theirs = api.token("operator"), api.token(subject="bob")
    assert _statuses(api, [theirs]) == [200]
    found = api.client.get("/api/v1/tokens", headers={"Authorization": f"Bearer {operator}"}).json()
    token_id = next(one["token_id"] for one in found["data"]["tokens"] if one["subject"] == "bob")
    assert api.ask("DELETE", f"/api/v1/tokens/{token_id}", role="operator").status_code == 200
    assert _statuses(api, [theirs, "as_" + "0" * 43, "as_" + "1" * 43, theirs]) == [401] * 3 + [429]
    close_api_site(api)


def test_a_page_that_takes_no_users_token_does_not_make_a_valid_one_new(tmp_path: Path) -> None:
    api = make_api_site(tmp_path, RATE_LIMIT="3")
    headers = {"Authorization": f"Bearer {api.token()}"}
    paths = ["/api/v1/jobs", "/metrics", "/api/v1/jobs", "/api/v1/jobs", "/metrics"]
    found = [api.client.get(path, headers=headers).status_code for path in paths]
    assert found == [200, 401, 200, 429, 429]
    close_api_site(api)


def test_what_is_given_back_may_be_asked_again() -> None:
    kept = Rates(2, elapsed=lambda: 0.0)
    kept.give_back("a")  # not known
    assert [kept.wait_s("a") for _ in range(3)] == [0.0, 0.0, pytest.approx(30.0)]
    kept.give_back("a")
    assert [kept.wait_s("a") for _ in range(2)] == [0.0, pytest.approx(30.0)]
    kept.forget("a")
    assert "a" not in kept
    assert kept.wait_s("a") == 0.0


def test_a_rate_refills_evenly() -> None:
    now = [0.0]
    kept = Rates(60, elapsed=lambda: now[0])
    assert [kept.wait_s("a") for _ in range(60)] == [0.0] * 60
    assert kept.wait_s("a") == pytest.approx(1.0)
    now[0] += 1.0
    assert kept.wait_s("a") == 0.0
    assert kept.wait_s("a") == pytest.approx(1.0)
    now[0] += 3600
    assert [kept.wait_s("a") for _ in range(60)] == [0.0] * 60
    assert kept.wait_s("a") > 0


@pytest.mark.parametrize(
    ("given", "is_kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 65, False), ("<b>", False)]
)
def test_a_request_keeps_its_id_if_it_is_a_plain_one(api: ApiSite, given: str, is_kept: bool) -> None:
    answer = api.client.get("/healthz", headers={"X-Request-Id": given})
    shown = answer.headers["x-request-id"]
    assert (shown == given) is is_kept
    assert answer.json()["meta"]["request_id"] == shown


def test_every_answer_has_the_security_headers(api: ApiSite) -> None:
    for path in ("/healthz", "/nowhere", "/api/v1/jobs"):
        headers = api.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
