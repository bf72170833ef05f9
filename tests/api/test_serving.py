"""The service in one process: it starts whole, is seen to be broken when it is, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from autoscorer.api import serving
from autoscorer.api.app import create_app
from autoscorer.api.beacon import Beacon, lit, seen
from autoscorer.api.listening import alone_in, listen
from autoscorer.api.parts import Parts
from autoscorer.api.service import Service
from autoscorer.api.stopping import Stops
from autoscorer.store.records import AttemptEnd, Job
from autoscorer.store.transitions import JobState
from autoscorer.utils.errors import AutoscorerError
from autoscorer.worker import Worker
from tests.api.serving import running, serve_site
from tests.worker.sites import ended, state_of, until
from tests.worker.stub import starts


def refusal_of(settings_root: Path, *, port: int = 0, **environ: str) -> AutoscorerError:
    site = serve_site(settings_root, **environ)
    with (
        pytest.raises(AutoscorerError) as caught,
        serving.opened(site.settings, host="127.0.0.1", port=port),
    ):
        pass
    return caught.value


@pytest.mark.slow
def test_jobs_are_done_while_it_serves_and_nothing_is_left_when_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = serve_site(tmp_path)
    before = set(psutil.Process().children(recursive=True))
    with running(site, monkeypatch) as service:
        jobs = [site.submit(service.store, site.workspace()) for _ in range(4)]
        until(lambda: all(ended(service.store, job) for job in jobs), what="the jobs end")
        assert {state_of(service.store, job).state for job in jobs} == {JobState.SUCCEEDED}
        assert service.get("/readyz").status_code == 200
        assert seen(service.url, folder=tmp_path / "beacons") is not None
        service.end()
        assert service.faults == []
        with pytest.raises(httpx.ConnectError):
            service.get("/healthz")
        assert seen(service.url, folder=tmp_path / "beacons") is None
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_service_whose_worker_died_is_alive_and_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = serve_site(tmp_path)
    with running(site, monkeypatch) as service:
        assert service.get("/readyz").status_code == 200, "control: it is well"

        def broken(_self: Worker) -> None:
            raise ZeroDivisionError("ours")

        monkeypatch.setattr(Worker, "paused", broken)
        until(lambda: service.get("/readyz").status_code == 503, what="it is not ready")
        failing = service.get("/readyz").json()["data"]["failing"]
        assert "worker" in failing["process"]
        assert "ZeroDivisionError" in failing["process"]
        assert "ours" not in json.dumps(failing)
        assert service.get("/healthz").status_code == 200
        service.end()
        assert len(service.faults) == 1


@pytest.mark.slow
def test_what_runs_when_it_is_told_to_stop_may_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = serve_site(tmp_path, WORKER_GRACE="60")
    folder = site.workspace("wait")
    with running(site, monkeypatch) as service:
        job = site.submit(service.store, folder)
        until(lambda: starts(folder), what="it runs")
        service.stops.say()
        until(lambda: _refuses(service.url), what="no further request is taken")
        assert service.thread.is_alive()
        (folder / "release").touch()
        service.join()
        assert state_of(service.store, job).state is JobState.SUCCEEDED


@pytest.mark.slow
@pytest.mark.parametrize(("grace", "says"), [("0", 1), ("3600", 2)])
def test_what_cannot_end_in_time_or_at_once_is_handed_over(
    grace: str, says: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = serve_site(tmp_path, WORKER_GRACE=grace)
    folder = site.workspace("wait")
    with running(site, monkeypatch) as service:
        job = site.submit(service.store, folder)
        until(lambda: starts(folder), what="it runs")
        for _ in range(says):
            service.stops.say()
        service.join()
        assert state_of(service.store, job).state is JobState.QUEUED
        [attempt] = service.store.jobs.attempts(job.task_id)
        assert attempt.end is AttemptEnd.GIVEN_BACK


@pytest.mark.slow
@pytest.mark.parametrize(("is_stuck", "ends"), [(True, [1]), (False, [])])
def test_a_job_that_ignores_being_handed_over_is_ended_with_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_stuck: bool, ends: list[int]
) -> None:
    began, release, ended_with = threading.Event(), threading.Event(), list[int]()

    def work(_self: Worker, _job: Job) -> None:
        began.set()
        release.wait(120)

    monkeypatch.setattr(Worker, "work", work)
    monkeypatch.setattr(serving, "STUCK_S", 0.3 if is_stuck else 60)
    monkeypatch.setattr(serving, "_end_process", ended_with.append)
    site = serve_site(tmp_path, WORKER_GRACE="0")
    with running(site, monkeypatch) as service:
        site.submit(service.store, site.workspace())
        assert began.wait(60)
        service.stops.say()
        if not is_stuck:
            release.set()
        service.join()
        release.set()
    assert ended_with == ends


def test_a_request_that_never_ends_does_not_keep_it_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_ending(service: Service) -> Any:
        usual = create_app(service)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope.get("path") == "/forever":
                await asyncio.Event().wait()
            await usual(scope, receive, send)

        return app

    monkeypatch.setattr(serving, "create_app", never_ending)
    monkeypatch.setattr(serving, "DRAIN_S", 0.2)
    with running(serve_site(tmp_path), monkeypatch) as service:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"GET /forever HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert service.get("/healthz").status_code == 200
            service.end()
            assert connection.recv(12) in (b"", b"HTTP/1.1 500"), "control: it had no answer before"


def test_with_a_broker_it_answers_and_works_on_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = serve_site(tmp_path, CELERY_BROKER="memory://")
    with running(site, monkeypatch) as service:
        job = site.submit(service.store, site.workspace())
        assert service.place.slots == 0
        assert service.get("/readyz").status_code == 200
        service.end()
        assert state_of(service.store, job).attempt == 0


def test_another_on_the_same_data_is_refused_until_the_first_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(serve_site(tmp_path), monkeypatch) as service:
        error = refusal_of(tmp_path)
        assert error.code == "CONFIG_VALIDATION_ERROR"
        assert f"process {os.getpid()}" in error.message
        service.end()
    with running(serve_site(tmp_path), monkeypatch) as service:
        assert service.get("/healthz").status_code == 200


def test_several_that_only_answer_may_share_their_data_and_none_that_works(tmp_path: Path) -> None:
    one, other = alone_in(tmp_path, shared=True), alone_in(tmp_path, shared=True)
    with one, other, pytest.raises(AutoscorerError), alone_in(tmp_path):
        pass
    with alone_in(tmp_path), pytest.raises(AutoscorerError), alone_in(tmp_path, shared=True):
        pass


def test_a_port_that_is_taken_is_named_with_what_to_do(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        message = refusal_of(tmp_path, port=port).message
    assert f"port {port}" in message
    assert "--port" in message


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "::ffff:192.0.2.1"])
def test_an_address_that_is_not_this_machines_is_named(host: str) -> None:
    with pytest.raises(AutoscorerError, match="--host") as caught:
        listen(host, 0)
    assert caught.value.code == "CONFIG_VALIDATION_ERROR"


def test_without_a_workspace_root_it_says_what_to_set(tmp_path: Path) -> None:
    assert "WORKSPACE_ROOT is not set" in refusal_of(tmp_path, WORKSPACE_ROOT="").message
    assert "is no folder" in refusal_of(tmp_path, WORKSPACE_ROOT=str(tmp_path / "none")).message


def test_a_data_dir_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "DATA_DIR" in refusal_of(tmp_path, DATA_DIR=str(tmp_path / "file")).message


def test_its_token_is_for_its_owners_eyes_and_its_facts_hold_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "redis://:hush@127.0.0.1:1/0"
    with running(serve_site(tmp_path, CELERY_BROKER=secret), monkeypatch) as service:
        path = service.place.beacon.token_path
        assert path.stat().st_mode & 0o777 == 0o600
        told = json.dumps(service.place.to_json())
        assert path.read_text().strip() not in told
        assert "hush" not in told


def test_a_part_that_ends_before_it_is_told_to_is_a_fault_and_after_it_is_not() -> None:
    parts = Parts()
    parts.start("one", lambda: None)
    assert parts.join("one", timeout_s=10)
    assert parts.faults() == ["the one of this process ended by itself; start it anew"]
    parts.stop()
    parts.start("two", lambda: None)
    assert parts.join("two", timeout_s=10)
    assert len(parts.faults()) == 1


def test_being_told_to_stop_is_heard_once_each_time() -> None:
    with Stops() as stops:
        assert not stops.wait(0)
        stops.say()
        assert stops.wait(10)
        assert not stops.wait(0)
        stops.say()
        assert (stops.wait(10), stops.count) == (True, 2)


def test_a_signal_says_stop_and_the_former_handler_is_put_back() -> None:
    import signal

    heard: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    try:
        with Stops() as stops:
            signal.raise_signal(signal.SIGTERM)
            assert stops.wait(10)
        assert heard == []
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, former)


def test_a_hangup_that_is_ignored_on_purpose_stays_ignored() -> None:
    import signal

    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stops() as stops:
            signal.raise_signal(signal.SIGHUP)
            assert not stops.wait(0)
            signal.raise_signal(signal.SIGTERM)  # control
            assert stops.wait(10)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


def beacon(root: Path, url: str = "http://127.0.0.1:8000") -> Beacon:
    return Beacon(url=url, token_path=root / "token", workspace_root=root)


def test_a_service_is_found_by_its_port_while_it_lives(tmp_path: Path) -> None:
    with lit(beacon(tmp_path), folder=tmp_path / "b"):
        assert seen("http://localhost:8000", folder=tmp_path / "b") == beacon(tmp_path)
        assert seen("http://localhost:8001", folder=tmp_path / "b") is None
    assert seen("http://localhost:8000", folder=tmp_path / "b") is None


def test_a_note_that_others_can_write_or_whose_process_is_gone_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    with lit(beacon(tmp_path), folder=folder):
        [path] = folder.iterdir()
        path.chmod(0o666)
        assert seen("http://localhost:8000", folder=folder) is None
        path.chmod(0o600)
        assert seen("http://localhost:8000", folder=folder) is not None, "control"
        note = json.loads(path.read_text())
        space, pid, ticks = note["owner"].split("/")
        path.write_text(json.dumps({**note, "owner": f"{space}/{pid}/{int(ticks) + 1}"}))
        assert seen("http://localhost:8000", folder=folder) is None
        path.write_text("{")
        assert seen("http://localhost:8000", folder=folder) is None


def test_where_no_note_can_be_written_it_serves_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    with lit(beacon(tmp_path), folder=tmp_path / "b"):
        assert seen("http://localhost:8000", folder=tmp_path / "b") is None


def _refuses(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionError:
        return True
    return False
