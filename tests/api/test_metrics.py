"""`/metrics`: its own token and no other, what requests leave in it, and what it says when disks fill up."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoscorer.monitoring.scrape import CONTENT_TYPE, Scrape
from autoscorer.queues.store_queue import StoreQueue
from autoscorer.store.records import AttemptEnd, Job
from autoscorer.store.transitions import JobState
from tests.api.sites import ApiSite, close_api_site, make_api_site
from tests.test_telemetry import Counted, samples, value
from tests.worker.sites import ended, event_names, until


def scraped(api: ApiSite, token: str | None = None) -> Any:
    token = api.service.metrics_token if token is None else token
    return api.client.get("/metrics", headers={"Authorization": f"Bearer {token}"})


def test_it_opens_for_its_own_token(api: ApiSite) -> None:
    answer = scraped(api)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == CONTENT_TYPE
    assert "autoscorer_store_up 1.0" in answer.text


@pytest.mark.parametrize("role", ["operator", "organiser", "participant", "viewer"])
def test_no_users_token_opens_it(api: ApiSite, role: str) -> None:
    answer = api.ask("GET", "/metrics", role=role)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "UNAUTHENTICATED"
    assert "autoscorer_" not in answer.text


def test_without_a_token_it_stays_shut_and_its_token_opens_nothing_else(api: ApiSite) -> None:
    assert api.client.get("/metrics").status_code == 401
    assert scraped(api, "").status_code == 401
    headers = {"Authorization": f"Bearer {api.service.metrics_token}"}
    assert api.client.get("/api/v1/jobs", headers=headers).status_code == 401


def test_the_token_that_was_made_is_for_its_owners_eyes(api: ApiSite) -> None:
    path = api.site.settings.data_dir / "metrics.token"
    assert path.read_text().strip() == api.service.metrics_token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_requests_are_counted_by_route_and_status_never_by_what_was_asked(api: ApiSite) -> None:
    counted = Counted(api.service.scrape)
    job = api.job()
    api.ask("GET", f"/api/v1/jobs/{job.task_id}")
    api.ask("GET", "/api/v1/jobs/no-such-job")
    api.client.get("/api/v1/jobs")
    api.client.get("/made/up/by/somebody")
    api.client.request("BREW", "/healthz")
    api.client.get("/healthz", headers={"Host": "evil.example"})
    one = "/api/v1/jobs/{task_id}"
    assert counted("http_requests_total", method="GET", route=one, status="200") == 1
    assert counted("http_requests_total", method="GET", route=one, status="404") == 1
    assert counted("http_requests_total", method="GET", route="/api/v1/jobs", status="401") == 1
    assert counted("http_requests_total", method="GET", route="unmatched", status="404") == 1
    assert counted("http_request_duration_seconds_count", method="GET", route=one) == 2
    told = scraped(api).text
    assert "made/up" not in told
    assert "BREW" not in told
    assert job.task_id not in told


def test_what_the_workers_did_is_told(api: ApiSite) -> None:
    counted = Counted(api.service.scrape)
    job = api.job()
    api.drain()
    assert api.state(job.task_id).state is JobState.SUCCEEDED
    succeeded = {"action": "pipeline", "state": "succeeded", "code": "none", "blame": "nobody"}
    assert counted("jobs_submitted_total", action="pipeline", queue="cpu") == 1
    assert counted("jobs_ended_total", **succeeded) == 1
    assert counted("scores_total", scorer="classification_f1", outcome="computed", blame="nobody") == 1
    assert counted("stage_duration_seconds_count", stage="score") == 1


class SmallDisk:
    """A file system of 32 MiB in place of the workspaces."""

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"
        self.folder = folder

    def fill_up_to(self, free_bytes: int) -> None:
        status = os.statvfs(self.folder)
        self._ballast.write_bytes(b"\0" * (status.f_bavail * status.f_frsize - free_bytes))

    def make_room(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount")
    folder = tmp_path / "workspaces"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], check=True)
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


def told_anew(api: ApiSite) -> Any:
    """What a scrape that has kept nothing tells."""
    return samples(Scrape(api.site.settings, api.store))


def working(api: ApiSite) -> tuple[StoreQueue, threading.Event, threading.Thread]:
    queue, stop = StoreQueue(api.store, poll_s=0.05), threading.Event()
    thread = threading.Thread(
        target=lambda: queue.run(api.site.worker(api.store), slots=1, stop=stop, grace_s=30), daemon=True
    )
    thread.start()
    return queue, stop, thread


@pytest.mark.slow
def test_below_the_watermark_jobs_wait_and_everything_says_so_and_with_room_they_run(
    tmp_path: Path, small_disk: SmallDisk
) -> None:
    api = make_api_site(tmp_path, MIN_FREE_DISK="16Mi")
    jobs = [api.job() for _ in range(3)]
    assert api.client.get("/readyz").status_code == 200
    small_disk.fill_up_to(8 * 2**20)
    queue, stop, thread = working(api)
    try:
        until(lambda: queue.paused is not None)
        assert api.client.get("/readyz").json()["data"]["failing"].keys() == {"disk"}
        told = samples(api.service.scrape)
        assert value(told, "disk_free_bytes", folder="workspaces") < value(told, "disk_watermark_bytes")
        assert value(told, "jobs", queue="cpu", state="queued") == 3
        until(lambda: value(told_anew(api), "workers", queue="cpu", state="paused") == 1)
        assert value(told_anew(api), "workers", queue="cpu", state="claiming") == 0
        queue.wake()
        queue.wake()
        assert [event_names(api.store, job) for job in jobs] == [["job_submitted"]] * 3
        small_disk.make_room()
        queue.wake()
        until(lambda: all(ended(api.store, job) for job in jobs))
        assert queue.paused is None
        assert value(told_anew(api), "workers", queue="cpu", state="claiming") == 1
        assert value(told_anew(api), "worker_slots") == 1
    finally:
        stop.set()
        queue.wake()
        thread.join(60)
    assert [api.state(job.task_id).state for job in jobs] == [JobState.SUCCEEDED] * 3
    assert [api.state(job.task_id).attempt for job in jobs] == [1] * 3
    assert api.client.get("/readyz").status_code == 200
    assert value(told_anew(api), "worker_slots") == 0  # it has left
    close_api_site(api)


@pytest.mark.slow
def test_the_control_without_the_watermark_such_a_disk_costs_a_job_its_attempt(
    tmp_path: Path, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoscorer.worker.low_disk", lambda _settings: None)
    api = make_api_site(tmp_path, MIN_FREE_DISK="0")
    job = api.job()
    small_disk.fill_up_to(2**20)  # less than the output that it may write takes
    queue, stop, thread = working(api)
    try:
        until(lambda: _first_end(api, job) is not None)
    finally:
        stop.set()
        queue.wake()
        thread.join(60)
    assert _first_end(api, job) is AttemptEnd.GIVEN_BACK
    close_api_site(api)


def _first_end(api: ApiSite, job: Job) -> AttemptEnd | None:
    attempts = api.store.jobs.attempts(job.task_id)
    return attempts[0].end if attempts else None
