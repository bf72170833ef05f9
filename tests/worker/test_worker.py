"""One claimed job to its end: what the store holds, what the workspace holds, and who is to blame."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoscorer.claims import claim
from autoscorer.pipeline import _check_room
from autoscorer.scheduler import resolve_limits
from autoscorer.schemas.job import JobSpec
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.host import Entry, IsStopped, Scoring, never
from autoscorer.store.leases import lease_of
from autoscorer.store.records import Job
from autoscorer.store.sql_store import SqlStore
from autoscorer.store.transitions import JobState
from autoscorer.utils.config import Config, Settings
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import configure_service_log
from autoscorer.worker import Worker, low_disk
from autoscorer.workspace import Workspace
from tests.worker.sites import (
    Site,
    ended,
    event_names,
    leftovers,
    make_site,
    result_json,
    state_of,
    until,
)
from tests.worker.stub import starts

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them

GIB = 2**30
SPEC = JobSpec.model_validate({"job_id": "a", "task_type": "t", "scorer": "s"})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = make_site(tmp_path / "site")
    yield made
    made.close()


@pytest.fixture
def store(site: Site) -> SqlStore:
    return site.open_store()


@contextmanager
def service_log(settings: Settings) -> Iterator[None]:
    """Have a service log within the block."""
    logger = logging.getLogger("autoscorer")
    before = (list(logger.handlers), logger.level, logger.propagate)
    configure_service_log(settings)
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def claimed(store: SqlStore, worker: str = "w1") -> Job:
    job = store.work.claim(queues=("cpu",), worker=worker)
    assert job is not None
    return job


def worked(site: Site, store: SqlStore, workspace: Path, action: str = "pipeline") -> Job:
    site.submit(store, workspace, action)
    job = claimed(store)
    site.worker(store).work(job)
    return state_of(store, job)


def test_a_pipeline_ends_with_its_score_in_the_store_and_in_the_workspace(
    site: Site, store: SqlStore
) -> None:
    workspace = site.workspace()
    job = worked(site, store, workspace)
    published = store.jobs.result(job.task_id)
    assert job.state is JobState.SUCCEEDED
    assert published is not None
    assert published.body["summary"]["f1_macro"] == 1.0
    assert result_json(workspace) == published.body
    assert leftovers(site) == []
    stages = [e.facts["stage"] for e in store.jobs.events(job.task_id) if e.name == "stage_started"]
    assert stages == ["prepare", "execute", "harvest", "view", "score"]


def test_a_run_leaves_predictions_and_no_score(site: Site, store: SqlStore) -> None:
    workspace = site.workspace()
    job = worked(site, store, workspace, "run")
    published = store.jobs.result(job.task_id)
    assert job.state is JobState.SUCCEEDED
    assert published is not None
    assert published.body["metrics"] == {}
    assert [path.name for path in (workspace / "output").iterdir()] == ["pred.csv"]


def test_a_score_takes_what_was_delivered(site: Site, store: SqlStore) -> None:
    workspace = site.workspace()
    assert worked(site, store, workspace, "score").state is JobState.SUCCEEDED
    assert result_json(workspace)["summary"]["f1_macro"] < 1
    assert starts(workspace) == []


def test_no_program_runs_for_parameters_that_its_scorer_does_not_take(site: Site, store: SqlStore) -> None:
    workspace = site.workspace(scorer_params={"beta": 2})
    job = worked(site, store, workspace)
    assert job.error is not None
    assert (job.state, job.error["code"]) == (JobState.FAILED, "CONFIG_VALIDATION_ERROR")
    assert starts(workspace) == []


@pytest.mark.parametrize(
    ("program", "code", "blame"),
    [
        ("exit", "CONTAINER_EXIT_NONZERO", "participant"),
        ("bug", "INTERNAL_ERROR", "platform"),
    ],
)
def test_what_failed_for_good_fails_at_once_and_blames_the_right_one(
    site: Site, store: SqlStore, program: str, code: str, blame: str
) -> None:
    workspace = site.workspace(program)
    job = worked(site, store, workspace)
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.error is not None
    assert (job.error["code"], job.error["details"]["blame"]) == (code, blame)
    assert result_json(workspace)["error"]["code"] == code
    assert leftovers(site) == []


@pytest.mark.parametrize(("pin", "blame"), [("@" + "ab" * 32, "operator"), ("_that_nobody_has", "organiser")])
def test_a_scorer_that_only_another_machine_has_is_the_operators_fault(
    site: Site, store: SqlStore, pin: str, blame: str
) -> None:
    job = site.submit(store, site.workspace(), scorer=f"classification_f1{pin}")
    site.drain(store)
    found = state_of(store, job)
    assert found.state is JobState.FAILED
    assert found.error is not None
    assert (found.error["code"], found.error["details"]["blame"]) == ("SCORER_NOT_FOUND", blame)
    assert found.attempt == 1, "it is not tried again by itself"


@pytest.mark.parametrize(
    ("program", "code"), [("lost", "CONTAINER_WAIT_FAILED"), ("full", "RESOURCE_UNAVAILABLE")]
)
def test_what_the_platform_failed_is_tried_three_times(
    site: Site, store: SqlStore, program: str, code: str
) -> None:
    workspace = site.workspace(program)
    site.submit(store, workspace)
    for attempt in (1, 2, 3):
        store = site.open_store(ahead_s=100.0 * attempt)
        job = claimed(store)
        assert job.attempt == attempt
        site.worker(store).work(job)
    job = state_of(store, job)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error["code"], job.error["details"]["last_code"]) == ("ATTEMPTS_EXHAUSTED", code)
    assert result_json(workspace)["error"]["code"] == "ATTEMPTS_EXHAUSTED"
    assert len(starts(workspace)) == 3
    assert leftovers(site) == []


def test_a_workspace_outside_the_root_is_refused(site: Site, store: SqlStore, tmp_path: Path) -> None:
    workspace = site.workspace()
    (tmp_path / "elsewhere").mkdir()
    (site.root / "workspaces" / "link").symlink_to(tmp_path / "elsewhere")
    for number, name in enumerate(("../..", "link", str(tmp_path / "elsewhere"))):
        site.submit(store, workspace, workspace=name, job_id=f"odd-{number}")
        job = claimed(store)
        site.worker(store).work(job)
        error = state_of(store, job).error
        assert error is not None
        assert error["code"] == "CONFIG_VALIDATION_ERROR"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_program_that_could_read_the_truth_is_not_run_unless_allowed(tmp_path: Path) -> None:
    for allowed in ("false", "true"):
        site = make_site(tmp_path / allowed, ALLOW_TRUTH_IN_INPUT=allowed)
        store = site.open_store()
        workspace = site.workspace()
        (workspace / "reference" / "gt.csv").rename(workspace / "input" / "gt.csv")
        job = worked(site, store, workspace)
        assert job.state is (JobState.SUCCEEDED if allowed == "true" else JobState.FAILED)
        assert len(starts(workspace)) == (1 if allowed == "true" else 0)
        store.close()


class Running:
    """A worker with a job that waits for its release."""

    def __init__(self, site: Site, store: SqlStore, workspace: Path, action: str = "pipeline") -> None:
        self.workspace = workspace
        site.submit(store, workspace, action)
        self.job = claimed(store)
        self.worker = site.worker(store)
        self._thread = threading.Thread(target=self.worker.work, args=(self.job,))
        self._thread.start()
        until(lambda: starts(workspace), what="the program starts")

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_a_cancel_ends_the_program_and_gives_no_score(site: Site, store: SqlStore) -> None:
    running = Running(site, store, site.workspace("wait"))
    store.jobs.cancel(running.job.task_id, by="ada")
    running.join()
    assert state_of(store, running.job).state is JobState.CANCELLED
    assert result_json(running.workspace)["error"]["code"] == "CANCELLED"
    assert store.jobs.result(running.job.task_id) is None
    assert leftovers(site) == []


def test_a_cancel_at_the_finish_line_takes_the_score_away(site: Site, store: SqlStore) -> None:
    """Accepted after the last look and before the result is published."""
    workspace = site.workspace()
    site.submit(store, workspace)
    job = claimed(store)
    succeed = store.work.succeed

    def cancelled_first(*args: object, **kwargs: object) -> Job:
        store.jobs.cancel(job.task_id, by="ada")
        return succeed(*args, **kwargs)  # type: ignore[arg-type]

    store.work.succeed = cancelled_first  # type: ignore[method-assign]
    site.worker(store).work(job)
    assert state_of(store, job).state is JobState.CANCELLED
    assert store.jobs.result(job.task_id) is None
    told = result_json(workspace)
    assert (told["error"]["code"], told["metrics"], told["summary"]) == ("CANCELLED", {}, {})
    assert not (workspace / "output" / "artifacts").exists()


def test_a_worker_told_to_stop_hands_its_job_over(site: Site, store: SqlStore) -> None:
    running = Running(site, store, site.workspace("wait"))
    running.worker.hand_over()
    running.join()
    job = state_of(store, running.job)
    assert job.state is JobState.QUEUED
    (running.workspace / "release").touch()
    site.drain(store)
    assert state_of(store, job).state is JobState.SUCCEEDED
    assert state_of(store, job).attempt == 2
    assert leftovers(site) == []


class SlowCatalog(Catalog):
    """Its scorers end when they are told to, and only then."""

    def __init__(self) -> None:
        super().__init__()
        self.started = threading.Event()

    def score(
        self, entry: Entry, view: Path, params: Mapping[str, Any], *, is_stopped: IsStopped = never
    ) -> Scoring:
        self.started.set()
        until(is_stopped, what="the scorer is told to stop")
        raise AutoscorerError("CANCELLED", "stopped")


@pytest.mark.parametrize("by", ["cancel", "worker"])
def test_a_scorer_is_ended_as_a_program_is(site: Site, store: SqlStore, by: str) -> None:
    catalog = SlowCatalog()
    site.submit(store, site.workspace(), "score")
    job, worker = claimed(store), site.worker(store, catalog=catalog)
    thread = threading.Thread(target=worker.work, args=(job,))
    thread.start()
    assert catalog.started.wait(60)
    if by == "cancel":
        store.jobs.cancel(job.task_id, by="ada")
    else:
        worker.hand_over()
    thread.join(60)
    assert state_of(store, job).state is (JobState.CANCELLED if by == "cancel" else JobState.QUEUED)


def test_one_whose_lease_was_taken_writes_nothing(site: Site, store: SqlStore) -> None:
    running = Running(site, store, site.workspace("wait"))
    ahead = site.open_store(ahead_s=40)
    site.recover(ahead)
    assert state_of(store, running.job).state is JobState.QUEUED
    second = Running.__new__(Running)
    second.job, second.worker = claimed(store, "w2"), site.worker(store, "w2")
    thread = threading.Thread(target=second.worker.work, args=(second.job,))
    thread.start()
    until(lambda: len(starts(running.workspace)) == 2, what="the second attempt starts beside the first")
    (running.workspace / "release").touch()
    running.join()
    thread.join(60)
    job = state_of(store, running.job)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert event_names(store, job).count("job_succeeded") == 1
    published = store.jobs.result(job.task_id)
    assert published is not None
    assert result_json(running.workspace) == published.body
    site.recover(ahead)
    assert leftovers(site) == []
    ahead.close()


def test_a_job_waits_for_a_workspace_that_somebody_works_on_by_hand(site: Site, store: SqlStore) -> None:
    workspace = site.workspace()
    site.submit(store, workspace)
    job = claimed(store)
    with claim(Workspace.open(workspace)):
        thread = threading.Thread(target=site.worker(store).work, args=(job,))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        assert starts(workspace) == []
    thread.join(60)
    assert state_of(store, job).state is JobState.SUCCEEDED


def test_a_job_that_cannot_have_its_workspace_says_so(
    site: Site, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoscorer.worker.WAIT_FOR_WORKSPACE_S", 0.2)
    workspace = site.workspace()
    with claim(Workspace.open(workspace)):
        job = worked(site, store, workspace)
    assert job.error is not None
    assert job.error["code"] == "WORKSPACE_BUSY"
    assert not (workspace / "output" / "result.json").exists(), "what another works on is not touched"


def test_a_store_that_is_away_when_the_score_is_there_gets_it_later(site: Site, store: SqlStore) -> None:
    workspace = site.workspace()
    site.submit(store, workspace)
    job = claimed(store)
    succeed = store.work.succeed
    asked: list[None] = []

    def away_at_first(*args: object, **kwargs: object) -> Job:
        asked.append(None)
        if len(asked) < 3:
            raise AutoscorerError("STORE_UNAVAILABLE", "away")
        return succeed(*args, **kwargs)  # type: ignore[arg-type]

    store.work.succeed = away_at_first  # type: ignore[method-assign]
    site.worker(store).work(job)
    assert state_of(store, job).state is JobState.SUCCEEDED


def test_a_result_that_could_not_be_written_down_is_written_by_maintenance(
    site: Site, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full once the store has the score: the job stays succeeded, its file comes later."""
    workspace = site.workspace()
    with monkeypatch.context() as broken:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        broken.setattr("autoscorer.job._write_result", full)
        job = worked(site, store, workspace)
    assert job.state is JobState.SUCCEEDED
    assert not (workspace / "output" / "result.json").exists()
    monkeypatch.setattr("autoscorer.maintenance.leftovers.process_is_alive", lambda _: False)
    site.recover(store)
    published = store.jobs.result(job.task_id)
    assert published is not None
    assert result_json(workspace) == published.body
    assert leftovers(site) == []


def test_a_lease_that_another_has_is_refused_by_the_store(site: Site, store: SqlStore) -> None:
    """Two workers, one job: the second claim is refused; control: of a job that waits it is not."""
    job = site.submit(store, site.workspace())
    assert store.work.claim_job(job.task_id, worker="w1") is not None
    assert store.work.claim_job(job.task_id, worker="w2") is None
    store.work.give_back(lease_of(state_of(store, job)), error={"code": "WORKER_STOPPED"})
    assert store.work.claim_job(job.task_id, worker="w2") is not None


def test_a_full_disk_stops_claiming_and_fails_nothing(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", MIN_FREE_DISK="60Ti")
    store = site.open_store()
    worker: Worker = site.worker(store)
    assert "MIN_FREE_DISK" in (worker.paused() or "")
    assert make_site(tmp_path / "other").worker(store).paused() is None, (
        "control: with room there is no pause"
    )
    job = site.submit(store, site.workspace())
    assert not ended(store, job)
    store.close()


@pytest.mark.parametrize(
    ("environ", "needed"),
    [
        ({}, 2 * GIB),  # the defaults: MIN_FREE_DISK 1 GiB, and an output of 1 GiB that must fit twice
        ({"MIN_FREE_DISK": "5Gi"}, 5 * GIB),
        ({"MIN_FREE_DISK": "0", "MAX_OUTPUT_BYTES": "3Gi"}, 6 * GIB),
    ],
)
def test_a_job_is_claimed_only_with_the_room_that_it_will_ask_for(
    environ: dict[str, str], needed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {"WORKSPACE_ROOT": str(tmp_path), "DATA_DIR": str(tmp_path)}
    settings = Config(tmp_path / "none.yaml", environ=folders | environ).settings

    def fails(free: int) -> bool:
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free))
        try:
            _check_room(tmp_path, resolve_limits(SPEC, settings))
        except AutoscorerError:
            return True
        return False

    assert fails(GIB * 3 // 2), "control: with 1.5 GiB the job itself fails"
    assert "MAX_OUTPUT_BYTES" in (low_disk(settings) or "")
    fails(needed - 1)
    assert low_disk(settings) is not None
    assert not fails(needed)
    assert low_disk(settings) is None


def test_what_is_logged_during_a_job_says_which_attempt_and_worker_it_was(
    site: Site, store: SqlStore, tmp_path: Path
) -> None:
    settings = dataclasses.replace(site.settings, log_dir=tmp_path / "logs")
    with service_log(settings):
        workspace = site.workspace("bug")
        site.submit(store, workspace)
        job = claimed(store, "w7")
        site.worker(store, "w7").work(job)
    lines = [json.loads(line) for line in (tmp_path / "logs" / "autoscorer.log").read_text().splitlines()]
    fault = next(line["data"] for line in lines if line["event"] == "job_internal_error")
    assert {"task_id": job.task_id, "attempt": 1, "worker": "w7"}.items() <= fault.items()
    of_the_job = [json.loads(line) for line in (workspace / "logs" / "job.jsonl").read_text().splitlines()]
    assert {(line["data"]["task_id"], line["data"]["attempt"]) for line in of_the_job} == {(job.task_id, 1)}
