"""A job is followed to its end through whatever happens to the connection, each event told once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from autoscorer.client import Client
from autoscorer.client.watching import Patience, Watch
from autoscorer.schemas.service import EventView
from autoscorer.utils.errors import AutoscorerError
from tests.client.stub import DONE, JOB, Reply, Stub, dropped, event, event_text, events, ok, raw, refused

ONE, STREAM = "GET /api/v1/jobs/t1", "GET /api/v1/jobs/t1/events"
RUNNING = {**JOB, "state": "running", "turn": "worker", "attempt": 1}


@dataclass
class Clock:
    """Time that passes only when somebody sleeps; ``on_sleep`` is what happens meanwhile."""

    now_s: float = 0.0
    on_sleep: Callable[[], object] = lambda: None
    slept: list[float] = field(default_factory=list)

    def elapsed(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.slept.append(seconds)
        self.on_sleep()


def watch(client: Client, clock: Clock, *, timeout_s: float | None = None, outage_s: float = 60.0) -> Watch:
    patience = Patience(timeout_s, outage_s, elapsed=clock.elapsed, sleep=clock.sleep)
    return Watch(client._connection, "t1", patience)


def told(watching: Watch) -> list[int]:
    """The numbers of the events until the job's end."""
    heard: list[EventView] = []
    assert watching.end(heard.append).state == "succeeded"
    return [one.number for one in heard]


def test_every_event_is_told_until_the_job_has_ended(stub: Stub, client: Client) -> None:
    stub.on(STREAM, events(event(1), ": alive\n", event(2), event(3, "job_succeeded")))
    stub.on(ONE, ok(DONE))
    assert told(watch(client, Clock())) == [1, 2, 3]
    assert len(stub.asked) == 2


def test_what_happened_while_the_stream_was_away_is_told_though_the_job_has_ended(
    stub: Stub, client: Client
) -> None:
    rest = [event(number) for number in (2, 3)], [event(4, "job_succeeded")]
    stub.on(
        STREAM, events(event(1)), ok({"events": rest[0], "next": 3}), ok({"events": rest[1], "next": None})
    )
    stub.on(ONE, ok(DONE))
    assert told(watch(client, Clock())) == [1, 2, 3, 4]
    asked = [asked.target.partition("?")[2] for asked in stub.requests(STREAM)]
    assert asked == ["", "after=1", "after=3"]


def test_the_events_that_there_are_can_be_listed(stub: Stub, client: Client) -> None:
    stub.on(STREAM, ok({"events": [event(5), event(6)], "next": None}))
    assert [one.number for one in client.events("t1", after=4)] == [5, 6]
    [asked] = stub.asked
    assert asked.headers["accept"] == "application/json"
    assert asked.target.endswith("?after=4")


def test_a_stream_that_breaks_off_goes_on_where_it_was(stub: Stub, client: Client) -> None:
    half = event_text(event(3))[:30]
    stub.on(
        STREAM, events(event(1), event(2), half), dropped, events(event(3)), events(event(4, "job_succeeded"))
    )
    stub.on(ONE, ok(RUNNING), ok(RUNNING), ok(RUNNING), ok(DONE))
    assert told(watch(client, Clock())) == [1, 2, 3, 4]
    resumed = [asked.headers.get("last-event-id") for asked in stub.requests(STREAM)]
    assert resumed == [None, "2", "2", "3"]


def test_events_that_come_twice_are_told_once(stub: Stub, client: Client) -> None:
    stub.on(STREAM, events(event(1), event(2)), events(event(1), event(2), event(3)))
    stub.on(ONE, ok(RUNNING), ok(DONE))
    assert told(watch(client, Clock())) == [1, 2, 3]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(raw(b"{}"), id="another kind of answer"),
        pytest.param(raw(b"data: {nonsense\n\n", kind="text/event-stream"), id="events without sense"),
    ],
)
def test_where_there_is_no_stream_the_job_is_asked_for_in_turns(
    reply: Reply, stub: Stub, client: Client
) -> None:
    none, some = ok({"events": [], "next": None}), ok({"events": [event(1)], "next": None})
    stub.on(STREAM, reply, *[none] * 5, some)
    stub.on(ONE, *[ok(RUNNING)] * 6, ok(DONE))
    clock = Clock()
    assert told(watch(client, clock)) == [1]
    assert clock.slept == sorted(clock.slept)
    assert max(clock.slept) == 3.0


def test_a_service_that_is_away_for_a_while_is_waited_for(stub: Stub, client: Client) -> None:
    stub.on(STREAM, events(event(1)), events(event(2, "job_succeeded")))
    stub.on(ONE, ok(RUNNING), ok(DONE))
    clock = Clock()

    def come_and_go() -> None:
        if len(clock.slept) == 1:
            stub.close()
        elif len(clock.slept) == 6:
            stub.open()

    clock.on_sleep = come_and_go
    assert told(watch(client, clock)) == [1, 2]


def test_a_service_that_stays_away_is_told(stub: Stub, client: Client) -> None:
    stub.close()
    clock = Clock()
    with pytest.raises(AutoscorerError) as caught:
        watch(client, clock, outage_s=20.0).end(lambda _event: None)
    assert caught.value.code == "SERVICE_UNREACHABLE"
    assert 20 <= clock.now_s < 30


def test_a_wait_ends_in_time_and_says_that_the_job_goes_on(stub: Stub, client: Client) -> None:
    stub.on(STREAM, events(event(1)))
    stub.on(ONE, ok(RUNNING))
    clock = Clock()
    with pytest.raises(TimeoutError, match="goes on"):
        watch(client, clock, timeout_s=7.0).end(lambda _event: None)
    assert clock.now_s == pytest.approx(7.0)


def test_a_wait_ends_in_time_though_the_stream_is_silent(stub: Stub, client: Client) -> None:
    stub.on(STREAM, events(event(1), hang=True))
    stub.on(ONE, ok(RUNNING))
    with pytest.raises(TimeoutError):
        client.wait("t1", timeout_s=0.3)


@pytest.mark.parametrize(("code", "status"), [("NOT_FOUND", 404), ("UNAUTHENTICATED", 401)])
def test_what_is_refused_is_told_at_once(code: str, status: int, stub: Stub, client: Client) -> None:
    stub.on(STREAM, refused(code, status))
    clock = Clock()
    with pytest.raises(AutoscorerError) as caught:
        watch(client, clock).end(lambda _event: None)
    assert (caught.value.code, clock.slept) == (code, [])


def test_events_are_told_as_they_happen(stub: Stub, client: Client) -> None:
    second = threading.Event()

    def in_two_parts(connection: object) -> None:
        events(event(1))(connection)  # type: ignore[arg-type]
        assert second.wait(30)
        connection.sendall(event_text(event(2)).encode())  # type: ignore[attr-defined]

    stub.on(STREAM, in_two_parts)
    stub.on(ONE, ok(DONE))
    happening = client.events("t1", follow=True)
    assert next(happening).number == 1
    second.set()
    assert [one.number for one in happening] == [2]


def test_a_job_that_failed_is_its_error_and_one_that_succeeded_its_result(stub: Stub, client: Client) -> None:
    error = {
        "ok": False,
        "code": "TIME_LIMIT",
        "stage": "execution",
        "message": "too long",
        "details": {"blame": "participant", "seconds": 60},
    }
    result = {
        "summary": {"score": 1.0},
        "metrics": {"f1": 1.0},
        "versioning": {"scorer": "s", "version": "1", "timestamp": "t"},
    }
    stub.on("POST /api/v1/jobs", ok(JOB))
    stub.on(STREAM, events())
    stub.on(ONE, ok({**DONE, "state": "failed", "error": error}), ok(DONE))
    stub.on(f"{ONE}/result", ok({"result": result}))
    with pytest.raises(AutoscorerError) as caught:
        client.pipeline("a")
    assert (caught.value.code, caught.value.blame) == ("TIME_LIMIT", "participant")
    assert caught.value.details == {"seconds": 60, "task_id": "t1"}
    assert client.pipeline("a").metrics == {"f1": 1.0}


def test_a_cancelled_job_is_an_error_of_nobody(stub: Stub, client: Client) -> None:
    stub.on("POST /api/v1/jobs", ok(JOB))
    stub.on(STREAM, events())
    stub.on(ONE, ok({**DONE, "state": "cancelled"}))
    with pytest.raises(AutoscorerError) as caught:
        client.run("a")
    assert (caught.value.code, caught.value.blame) == ("CANCELLED", "nobody")
