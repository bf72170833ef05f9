"""A log is read byte for byte, each byte once, whatever happens to the connection."""

from __future__ import annotations

import pytest

from autoscorer.client import Client
from autoscorer.client.connection import Connection
from autoscorer.client.log_reading import LogReader
from autoscorer.client.watching import Patience
from autoscorer.utils.errors import AutoscorerError
from tests.client.conftest import TOKEN
from tests.client.stub import DONE, JOB, Reply, Stub, dropped, ok, raw, refused
from tests.client.test_watching import Clock

ONE, LOG = "GET /api/v1/jobs/t1", "GET /api/v1/jobs/t1/log"
RUNNING = {**JOB, "state": "running"}


def text(content: bytes) -> Reply:
    return raw(content, kind="text/plain")


def broken(content: bytes) -> Reply:
    return raw(content, kind="text/plain", announced=len(content) + 1)


def read(client: Client, *, follow: bool, clock: Clock | None = None) -> bytes:
    clock = clock or Clock()
    patience = Patience(None, 60.0, elapsed=clock.elapsed, sleep=clock.sleep)
    return b"".join(LogReader(client._connection, "t1", patience).pieces(follow=follow))


def test_a_log_is_what_was_printed_byte_for_byte(stub: Stub, client: Client) -> None:
    content = bytes(range(256))
    stub.on(LOG, text(content))
    assert b"".join(client.log("t1")) == content
    assert [asked.target for asked in stub.asked] == ["/api/v1/jobs/t1/log?offset=0"]


def test_a_log_that_breaks_off_goes_on_where_it_was(stub: Stub, client: Client) -> None:
    stub.on(LOG, broken(b"one "), dropped, text(b"two"))
    assert read(client, follow=False) == b"one two"
    offsets = [asked.target.partition("offset=")[2] for asked in stub.requests(LOG)]
    assert offsets == ["0", "4", "4"]


def test_a_log_is_followed_until_the_job_has_ended_and_its_last_lines_are_read(
    stub: Stub, client: Client
) -> None:
    stub.on(LOG, text(b"a"), broken(b"b"), text(b""), text(b"c"))
    stub.on(ONE, ok(RUNNING), ok(DONE))
    assert read(client, follow=True) == b"abc"
    follows = ["follow" in asked.target for asked in stub.requests(LOG)]
    assert follows == [True, True, True, False]


def test_a_container_that_is_silent_for_long_is_no_service_that_is_away(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def says_nothing(connection: object) -> None:
        text_head = b"HTTP/1.1 200 X\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
        connection.sendall(text_head)  # type: ignore[attr-defined]
        connection.recv(1)  # type: ignore[attr-defined]

    stub.on(LOG, *[says_nothing] * 3, text(b"at last"))
    stub.on(ONE, ok(RUNNING), ok(RUNNING), ok(RUNNING), ok(DONE))
    clock = Clock()
    patience = Patience(None, 0.0, elapsed=clock.elapsed, sleep=clock.sleep)
    connection = Connection(stub.url, TOKEN)
    usual = connection.stream
    monkeypatch.setattr(
        connection, "stream", lambda path, **given: usual(path, **{**given, "silence_s": 0.1})
    )
    pieces = LogReader(connection, "t1", patience).pieces(follow=True)
    assert b"".join(pieces) == b"at last" * 2  # once more for its last lines, which the stub makes up
    connection.close()


def test_a_job_without_a_log_says_so(stub: Stub, client: Client) -> None:
    stub.on(LOG, refused("NOT_FOUND", 404, message="it only scores"))
    with pytest.raises(AutoscorerError, match="it only scores"):
        read(client, follow=False)
    with pytest.raises(AutoscorerError, match="it only scores"):
        read(client, follow=True)


def test_a_job_that_ended_without_a_word_has_an_empty_log_when_followed(stub: Stub, client: Client) -> None:
    stub.on(LOG, text(b""), refused("NOT_FOUND", 404))
    stub.on(ONE, ok(DONE))
    assert read(client, follow=True) == b""


def test_a_service_that_stays_away_is_told(stub: Stub, client: Client) -> None:
    stub.close()
    clock = Clock()
    with pytest.raises(AutoscorerError) as caught:
        read(client, follow=True, clock=clock)
    assert caught.value.code == "SERVICE_UNREACHABLE"
    assert 60 <= clock.now_s < 70
