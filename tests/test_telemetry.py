"""What is counted of jobs, and what a scrape tells: against the store, which is the truth."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from autoscorer.monitoring import changes
from autoscorer.monitoring.scrape import KEPT_S, Scrape
from autoscorer.store.leases import lease_of, recover
from autoscorer.store.memory_store import MemoryStore
from autoscorer.store.records import Action, Presence
from autoscorer.telemetry import measuring
from autoscorer.utils.config import Config, Settings
from autoscorer.utils.errors import AutoscorerError, make_error
from tests.contracts.store_cases import EXIT_3, HOOK, new_job
from tests.store.clocks import MovableClock

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    environ = {"WORKSPACE_ROOT": str(tmp_path), "DATA_DIR": str(tmp_path / "data"), "MIN_FREE_DISK": "3Gi"}
    return Config(tmp_path / "none.yaml", environ=environ).settings


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def store(clock: MovableClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
def scrape(settings: Settings, store: MemoryStore) -> Scrape:
    changes.observe(store)
    return Scrape(settings, store, elapsed=_always_later())


def _always_later() -> Any:
    """A clock for which whatever was read before is old."""
    passed = iter(range(0, 10**9, int(KEPT_S) + 1))
    return lambda: float(next(passed))


def samples(scrape: Scrape) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(scrape.text().decode())
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((f"autoscorer_{name}", frozenset(labels.items())), 0.0)


class Counted:
    """How much counters rose since it was made: the process's others have counted before."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape, self._before = scrape, samples(scrape)

    def __call__(self, name: str, **labels: str) -> float:
        return value(samples(self._scrape), name, **labels) - value(self._before, name, **labels)


@pytest.fixture
def counted(scrape: Scrape) -> Counted:
    return Counted(scrape)


def claim(store: MemoryStore) -> Any:
    job = store.work.claim(queues=("cpu", "score"), worker="w1")
    assert job is not None
    return lease_of(job)


def test_a_jobs_life_is_counted_with_its_waits_and_its_times(
    store: MemoryStore, clock: MovableClock, counted: Counted
) -> None:
    acme = store.access.add_organisation("acme").organisation_id
    store.jobs.submit(new_job(acme))
    clock.forward(7)
    lease = claim(store)
    clock.forward(20)
    store.work.succeed(
        lease,
        result={
            "timing": {
                "execute_seconds": 9.0,
                "scheduling_seconds": 0.25,
                "run_seconds": 5.0,
                "pull_seconds": 3.5,
                "score_seconds": 0.5,
            },
            "resources": {"cpu_seconds": 4.0, "peak_memory_bytes": 2**21},
            "versioning": {"scorer": "classification_f1", "version": "1.0.0"},
        },
    )
    assert counted("jobs_submitted_total", action="pipeline", queue="cpu") == 1
    ended = {"action": "pipeline", "state": "succeeded", "code": "none", "blame": "nobody"}
    assert counted("jobs_ended_total", **ended) == 1
    assert counted("queue_latency_seconds_sum", queue="cpu") == pytest.approx(7)
    assert counted("job_duration_seconds_sum", action="pipeline") == pytest.approx(20)
    stages = {"execute": 9.0, "scheduling": 0.25, "run": 5.0, "pull": 3.5, "score": 0.5}
    for stage, seconds in stages.items():
        assert counted("stage_duration_seconds_sum", stage=stage) == pytest.approx(seconds)
    assert counted("scores_total", scorer="classification_f1", outcome="computed", blame="nobody") == 1
    assert counted("scorer_duration_seconds_sum", scorer="classification_f1") == pytest.approx(0.5)
    assert counted("program_cpu_seconds_total") == 4
    assert counted("program_peak_memory_bytes_count") == 1


def test_a_failure_is_counted_with_its_code_and_blame_and_a_lost_attempt_as_lost(
    store: MemoryStore, clock: MovableClock, counted: Counted
) -> None:
    acme = store.access.add_organisation("acme").organisation_id
    store.jobs.submit(new_job(acme))
    claim(store)
    clock.forward(100)
    recover(store.work)
    store.work.fail(claim(store), error=EXIT_3)
    assert counted("attempts_ended_total", end="lost", code="WORKER_LOST") == 1
    assert counted("attempts_ended_total", end="failed", code="CONTAINER_EXIT_NONZERO") == 1
    failed = {"action": "pipeline", "state": "failed", "code": "CONTAINER_EXIT_NONZERO"}
    assert counted("jobs_ended_total", **failed, blame="participant") == 1
    # The second attempt did not wait for its first start.
    assert counted("queue_latency_seconds_count", queue="cpu") == 1


def test_a_score_served_from_the_cache_takes_no_scorers_time(store: MemoryStore, counted: Counted) -> None:
    acme = store.access.add_organisation("acme").organisation_id
    store.jobs.submit(new_job(acme, action=Action.SCORE))
    versioning = {"scorer": "classification_f1", "version": "1.0.0", "cached": "true"}
    timing = {"view_seconds": 0.25, "score_seconds": 40.0, "run_seconds": 99.0}
    store.work.succeed(claim(store), result={"timing": timing, "versioning": versioning})
    assert counted("scores_total", scorer="classification_f1", outcome="cached", blame="nobody") == 1
    assert counted("stage_duration_seconds_sum", stage="view") == pytest.approx(0.25)
    for name in ("scorer_duration_seconds_count", "stage_duration_seconds_count"):
        assert counted(name, scorer="classification_f1") == 0
    assert counted("stage_duration_seconds_count", stage="score") == 0
    assert counted("stage_duration_seconds_count", stage="run") == 0  # an earlier job's


def test_what_is_submitted_or_raised_never_becomes_a_label(store: MemoryStore, counted: Counted) -> None:
    acme = store.access.add_organisation("acme").organisation_id
    own_code = {**make_error("score", "SCORE_ERROR", "no"), "code": "MADE_UP_BY_A_SCORER"}
    for number in range(3):
        store.jobs.submit(new_job(acme, number))
        text = f"free text {number}"
        versioning = {"scorer": text, "version": "unknown"}  # of a specification; no scorer was found by it
        store.work.fail(claim(store), error=own_code, result={"versioning": versioning})
    assert counted("scores_total", scorer="unknown", outcome="failed", blame="platform") + counted(
        "scores_total", scorer="unknown", outcome="failed", blame="organiser"
    ) == pytest.approx(3)
    assert counted("attempts_ended_total", end="failed", code="other") == 3


def test_there_are_only_so_many_scorers_to_tell_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_named", set())
    names = [changes._scorer({"scorer": f"s{number}", "version": "1"}) for number in range(300)]
    assert len(set(names)) == changes.MAX_SCORERS + 1
    assert names[-1] == changes.OTHER
    assert changes._scorer({"scorer": "s0", "version": "1"}) == "s0"


def test_a_scrape_tells_how_the_store_stands(
    store: MemoryStore, clock: MovableClock, scrape: Scrape, settings: Settings
) -> None:
    acme = store.access.add_organisation("acme").organisation_id
    for number in range(3):
        store.jobs.submit(new_job(acme, number, callback_url=HOOK))
    store.jobs.submit(new_job(acme, 3, queue="gpu"))
    claim(store)
    store.jobs.cancel(store.work.release(queues=("cpu",), at_most=1, lost_after_s=9)[0].task_id, by="ada")
    here = Presence(worker_id="w1", machine="m", queues=("cpu", "gpu"), slots=4)
    store.workers.report(here, lease_s=60)
    store.workers.report(replace(here, worker_id="w2", queues=("cpu",), paused="no disk"), lease_s=60)
    clock.forward(33)
    found = samples(scrape)
    assert value(found, "store_up") == 1
    assert value(found, "jobs", queue="cpu", state="queued") == 1
    assert value(found, "jobs", queue="cpu", state="running") == 1
    assert value(found, "jobs", queue="gpu", state="queued") == 1
    assert (
        "autoscorer_jobs",
        frozenset({("queue", "score"), ("state", "queued")}),
    ) in found  # zero, not absent
    assert value(found, "oldest_waiting_job_age_seconds") == pytest.approx(33)
    assert value(found, "jobs_overdue") == 1  # the lease of the claimed one has run out
    assert value(found, "callbacks", state="pending") == 1
    assert value(found, "workers", queue="cpu", state="claiming") == 1
    assert value(found, "workers", queue="cpu", state="paused") == 1
    assert value(found, "workers", queue="gpu", state="claiming") == 1
    assert ("autoscorer_workers", frozenset({("queue", "score"), ("state", "claiming")})) in found
    assert value(found, "worker_slots") == 8
    assert value(found, "disk_watermark_bytes") == 3 * 2**30
    assert (
        0
        < value(found, "disk_free_bytes", folder="workspaces")
        < value(found, "disk_size_bytes", folder="workspaces")
    )
    assert value(found, "machine_memory_size_bytes") > value(found, "machine_memory_available_bytes") > 0
    assert value(found, "machine_cpu_seconds_total", mode="idle") > 0
    assert ("process_resident_memory_bytes", frozenset()) in found


def test_many_scrapes_ask_the_store_once(settings: Settings, store: MemoryStore) -> None:
    asked: list[str] = []
    counts, now = store.jobs.counts, [0.0]

    def count() -> Any:
        asked.append("counts")
        return counts()

    store.jobs.counts = count  # type: ignore[method-assign]
    scrape = Scrape(settings, store, elapsed=lambda: now[0])
    for _ in range(20):
        scrape.text()
    assert asked == ["counts"]
    now[0] += KEPT_S + 1
    scrape.text()
    assert len(asked) == 2


def test_while_the_store_is_away_the_rest_is_told_and_that_it_is_away(
    settings: Settings, store: MemoryStore
) -> None:
    def away() -> Any:
        raise AutoscorerError("STORE_UNAVAILABLE", "it does not answer")

    store.jobs.counts = away  # type: ignore[method-assign]
    found = samples(Scrape(settings, store))
    assert found["autoscorer_store_up", frozenset()] == 0
    assert not [name for name, _ in found if name == "autoscorer_jobs"]
    assert value(found, "disk_size_bytes", folder="data") > 0


def test_names_follow_the_conventions_and_every_one_is_explained_in_two_languages() -> None:
    for instrument in measuring.REGISTRY.instruments:
        is_counter = instrument.kind == "counter"
        assert instrument.name.endswith("_total") == is_counter, instrument.name
        if instrument.kind == "histogram":
            assert instrument.name.endswith(("_seconds", "_bytes")), instrument.name
            assert list(instrument.buckets) == sorted(set(instrument.buckets))
        assert instrument.en.endswith(".")
        assert instrument.zh.endswith("。")
    names = [instrument.name for instrument in measuring.REGISTRY.instruments]
    assert len(set(names)) == len(names)


def test_without_the_extra_nothing_is_measured_and_nothing_fails(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["prometheus_client"] = None
from autoscorer.monitoring import changes
from autoscorer.monitoring.scrape import Scrape
from autoscorer.store.memory_store import MemoryStore
from autoscorer.telemetry.instruments import JOBS_ENDED, JOB_DURATION, WORKER_JOBS
from autoscorer.utils.config import Config
store = MemoryStore()
assert changes.observe(store) is False
JOBS_ENDED.add(action="run", state="failed", code="x", blame="nobody")
JOB_DURATION.observe(1.0, action="run")
with WORKER_JOBS.held():
    pass
assert Scrape(Config("/nowhere").settings, store).text() == b""
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_an_instrument_that_nobody_started_costs_no_import() -> None:
    program = (
        "import sys; import autoscorer.worker, autoscorer.scorers.child.nursery; "
        "assert 'prometheus_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
