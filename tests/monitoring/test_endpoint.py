"""A worker's own `/metrics`: on loopback alone, with the token alone, while jobs run."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscorer import service_runtime
from autoscorer.monitoring.endpoint import serving_metrics
from autoscorer.monitoring.scrape import Scrape
from autoscorer.queues.store_queue import StoreQueue
from autoscorer.store.memory_store import MemoryStore
from autoscorer.utils.config import Config
from autoscorer.utils.errors import AutoscorerError
from tests.test_telemetry import Counted
from tests.worker.sites import ended, make_site, until

pytestmark = pytest.mark.slow  # servers and requests

TOKEN = "a-token-of-the-test"


def asked(port: int, *, token: str | None = TOKEN, path: str = "/metrics") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.fixture
def port() -> Iterator[int]:
    with serving_metrics(Scrape(Config("/nowhere").settings, MemoryStore()), 0, TOKEN) as number:
        yield number


def test_it_tells_whoever_has_the_token_and_nobody_else(port: int) -> None:
    status, content = asked(port)
    assert status == 200
    assert b"autoscorer_build_info" in content
    assert asked(port, token=None) == (401, b"")
    assert asked(port, token=TOKEN[:-1]) == (401, b"")
    assert asked(port, path="/")[0] == 404


def test_it_listens_on_this_machines_loopback_alone(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        pass
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=10):
        pass


def test_one_that_says_nothing_holds_nobody_up(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        assert asked(port)[0] == 200


def test_a_port_that_is_taken_is_told_as_such(port: int) -> None:
    scrape = Scrape(Config("/nowhere").settings, MemoryStore())
    with pytest.raises(AutoscorerError) as caught, serving_metrics(scrape, port, TOKEN):
        pass
    assert caught.value.code == "CONFIG_VALIDATION_ERROR"
    assert "WORKER_METRICS_PORT" in caught.value.message


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_it_is_told_where_it_was_asked_to_be(host: str) -> None:
    scrape = Scrape(Config("/nowhere").settings, MemoryStore())
    with serving_metrics(scrape, 0, TOKEN, host=host) as number:
        with socket.create_connection(("127.0.0.1", number), timeout=10):
            pass
        # Every address of 127/8 is this machine's; who listens on one of them is not heard on another.
        with socket.socket() as other:
            assert (other.connect_ex(("127.0.0.2", number)) == 0) == (host == "0.0.0.0")


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "::1"])
def test_an_address_of_another_machine_is_told_as_such(host: str) -> None:
    scrape = Scrape(Config("/nowhere").settings, MemoryStore())
    with pytest.raises(AutoscorerError) as caught, serving_metrics(scrape, 0, TOKEN, host=host):
        pass
    assert caught.value.code == "CONFIG_VALIDATION_ERROR"
    assert "WORKER_METRICS_HOST" in caught.value.message


@pytest.mark.slow
def test_what_is_told_while_fifty_jobs_run_adds_up(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    store = site.open_store()
    scrape = service_runtime.make_scrape(site.settings, store)
    counted = Counted(scrape)
    jobs = [site.submit(store, site.workspace(), "run") for _ in range(50)]
    queue, stop = StoreQueue(store, poll_s=0.05), threading.Event()
    worker = threading.Thread(
        target=lambda: queue.run(site.worker(store), slots=2, stop=stop, grace_s=60), daemon=True
    )
    succeeded = {"action": "run", "state": "succeeded", "code": "none", "blame": "nobody"}
    told: list[float] = []
    with serving_metrics(scrape, 0, TOKEN) as port:
        worker.start()
        try:
            while not all(ended(store, job) for job in jobs):
                assert asked(port)[0] == 200
                told.append(counted("jobs_ended_total", **succeeded))
            until(lambda: counted("jobs_ended_total", **succeeded) == 50)
        finally:
            stop.set()
            queue.wake()
            worker.join(60)
    assert told == sorted(told)
    assert counted("attempts_started_total", queue="cpu") == 50
    assert counted("queue_latency_seconds_count", queue="cpu") == 50
    assert counted("stage_duration_seconds_count", stage="execute") == 50
    assert counted("worker_jobs") == 0
    site.close()
