"""What happens to a job, as a list and as a stream that one can take up again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from autoscorer.access.principal import Principal
from autoscorer.api import streams
from autoscorer.api.routes.events import event_view
from autoscorer.store.base import Store
from autoscorer.store.leases import lease_of
from autoscorer.store.records import Event, Job, Role
from autoscorer.utils.errors import AutoscorerError
from tests.api.live import Live, events_in, live
from tests.api.sites import ApiSite
from tests.worker.sites import until


@pytest.fixture
def served(api: ApiSite) -> Iterator[Live]:
    with live(api) as found:
        yield found


def numbers(found: Any) -> list[int]:
    return [int(event.last_id) for event in found if event is not None]


def claimed(store: Store) -> Job:
    job = store.work.claim(queues=("cpu",), worker="w")
    assert job is not None
    return job


def test_a_list_has_all_events_page_by_page(api: ApiSite) -> None:
    job = api.job()
    api.drain()
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        answer = api.ask(
            "GET",
            f"/api/v1/jobs/{job.task_id}/events",
            params={"after": after, "limit": 3},
            headers={"Accept": "application/json"},
        ).json()["data"]
        seen += [event["number"] for event in answer["events"]]
        after = answer["next"]
    assert seen == list(range(1, api.state(job.task_id).events + 1))


def test_a_stream_of_an_ended_job_gives_all_and_ends(api: ApiSite) -> None:
    job = api.job()
    api.drain()
    answer = api.ask("GET", f"/api/v1/jobs/{job.task_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "retry: 2000" in answer.text
    found = [event for event in events_in(answer) if event is not None]
    assert numbers(found) == list(range(1, api.state(job.task_id).events + 1))
    assert found[0].name == "job_submitted" == json.loads(found[0].text)["name"]
    assert found[-1].name == "job_succeeded"


@pytest.mark.parametrize("how", ["header", "query", "both"])
def test_a_stream_is_taken_up_in_the_middle(api: ApiSite, how: str) -> None:
    job = api.job()
    api.drain()
    given: dict[str, Any] = {"headers": {"Last-Event-ID": "3"}} if how != "query" else {}
    given |= {"params": {"after": 3 if how == "query" else 1}} if how != "header" else {}
    answer = api.ask("GET", f"/api/v1/jobs/{job.task_id}/events", **given)
    assert numbers(events_in(answer))[0] == 4


def test_whoever_has_the_last_event_of_an_ended_job_is_told_to_ask_no_more(api: ApiSite) -> None:
    job = api.job()
    api.drain()
    last = str(api.state(job.task_id).events)
    answer = api.ask("GET", f"/api/v1/jobs/{job.task_id}/events", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("odd", ["-1", "x", "1e3", "99999999999999", "１", "3\u00b2"])
def test_an_odd_last_event_id_is_refused(api: ApiSite, odd: str) -> None:
    job = api.job()
    headers: dict[Any, Any] = {b"Last-Event-ID": odd.encode()}
    headers |= {"Authorization": f"Bearer {api.token()}"}
    answer = api.client.get(f"/api/v1/jobs/{job.task_id}/events", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("after", ["-1", "x", "2147483648", "1.5", "nan"])
def test_an_odd_after_is_refused(api: ApiSite, after: str) -> None:
    job = api.job()
    answer = api.ask("GET", f"/api/v1/jobs/{job.task_id}/events", params={"after": after})
    assert answer.status_code == 400


def test_events_come_as_they_happen_and_the_stream_ends_with_the_job(served: Live) -> None:
    job = served.api.job()
    with served.stream(f"/api/v1/jobs/{job.task_id}/events") as response:
        found = events_in(response)
        first = next(found)
        assert first is not None
        assert first.name == "job_submitted"
        held = claimed(served.api.store)
        assert next(event for event in found if event).name == "job_claimed"
        served.api.store.work.note(lease_of(held), event="stage_started", facts={"stage": "execute"})
        assert json.loads(next(event for event in found if event).text)["facts"] == {"stage": "execute"}
        served.api.store.work.succeed(lease_of(held), result={})
        assert [event.name for event in found if event] == ["job_succeeded"]
    served.until_no_stream()


def test_no_thread_waits_for_a_stream(served: Live) -> None:
    job = served.api.job()
    served.http.get("/api/v1/queue", headers=served.headers())
    path = f"/api/v1/jobs/{job.task_id}/events"
    before = threading.active_count()
    with ExitStack() as open_streams:
        readers = []
        for _ in range(streams.PER_TOKEN):
            readers.append(events_in(open_streams.enter_context(served.stream(path))))
            assert next(readers[-1]) is not None
        # Looks at the store take turns in the threads that serve every request.
        assert threading.active_count() - before < streams.PER_TOKEN
        refused = served.http.get(path, headers=served.headers())
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "RATE_LIMITED")
    served.until_no_stream()
    served.api.store.jobs.cancel(job.task_id, by="ada")
    assert served.http.get(path, headers=served.headers()).status_code == 200


def test_a_reader_that_goes_away_is_let_go_of_though_nothing_happens(served: Live) -> None:
    job = served.api.job()
    with served.stream(f"/api/v1/jobs/{job.task_id}/events") as response:
        assert next(events_in(response)) is not None
        assert len(served.api.service.streams) == 1
    served.until_no_stream()


def test_a_reader_that_does_not_read_holds_up_nobody(served: Live) -> None:
    job = served.api.job()
    held = lease_of(claimed(served.api.store))
    with served.connect() as slow:
        host = served.url.removeprefix("http://")
        token = served.api.token()
        slow.sendall(
            f"GET /api/v1/jobs/{job.task_id}/events HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        until(lambda: len(served.api.service.streams) == 1)
        for number in range(300):
            served.api.store.work.note(held, event="noted", facts={"text": "x" * 3000, "number": number})
        assert served.http.get("/api/v1/queue", headers=served.headers()).status_code == 200
        served.api.store.work.succeed(held, result={})
        answer = served.http.get(f"/api/v1/jobs/{job.task_id}/events", headers=served.headers())
        assert numbers(events_in(answer))[-1] == served.api.state(job.task_id).events
    served.until_no_stream()


def test_a_sign_of_life_comes_when_nothing_happens_unless_the_token_was_revoked(
    served: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SIGN_OF_LIFE_S", 0.01)
    job = served.api.job()
    with served.stream(f"/api/v1/jobs/{job.task_id}/events") as response:
        found = events_in(response)
        assert next(found) is not None
        assert next(found) is None
        mine = served.api.store.access.tokens(job.organisation_id)[0]
        served.api.store.access.revoke(mine.token_id)
        assert all(event is None for event in found)
    served.until_no_stream()


def test_the_service_that_stops_ends_its_streams(served: Live) -> None:
    job = served.api.job()
    with served.stream(f"/api/v1/jobs/{job.task_id}/events") as response:
        found = events_in(response)
        assert next(found) is not None
        served.api.service.stopping.set()
        assert list(found) == []
    served.until_no_stream()


@pytest.mark.parametrize(
    ("code", "is_shown"), [("TIME_LIMIT", True), ("MISSING_FILE", False), ("A_SCORERS_OWN", False)]
)
def test_an_event_quotes_to_a_participant_no_fault_that_could_quote_the_truth(
    api: ApiSite, code: str, is_shown: bool
) -> None:
    facts = {"code": code, "message": "the truth of row 7 is cat"}
    event = Event(task_id="t", number=1, at=api.store.now().at, attempt=1, name="job_failed", facts=facts)

    def seen(role: Role) -> dict[str, Any]:
        principal = Principal(organisation_id="o", subject="s", role=role, token_id="t")
        return event_view(event, principal, api.service).facts

    assert ("message" in seen(Role.PARTICIPANT)) is is_shown
    assert ("message" in seen(Role.VIEWER)) is is_shown
    assert seen(Role.ORGANISER) == facts


def test_the_bound_of_streams_is_kept_for_each_token_and_for_all() -> None:
    bound = streams.Streams(per_token=2, in_all=3)
    with bound.held("a"), bound.held("a"):
        with pytest.raises(AutoscorerError, match="RATE_LIMITED"), bound.held("a"):
            pass
        with bound.held("b"), pytest.raises(AutoscorerError, match="RATE_LIMITED"), bound.held("c"):
            pass
    assert len(bound) == 0
