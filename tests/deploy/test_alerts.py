"""The alert rules: each goes off when it should, none when all is well, and all they name is measured."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscorer.monitoring.changes import observe
from autoscorer.monitoring.scrape import Scrape
from autoscorer.store.memory_store import MemoryStore
from autoscorer.telemetry import instruments
from autoscorer.telemetry.measuring import REGISTRY
from autoscorer.utils.config import Config

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
STANDARD = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
assert instruments  # what it declares is in the registry
Series = Mapping[str, str]

# Ninety minutes of a service that is well, a value a minute. `0+60x90` is one job a second.
WELL: Series = {
    'up{job="autoscorer-api",instance="a"}': "1x90",
    'autoscorer_store_up{instance="a"}': "1x90",
    "autoscorer_oldest_waiting_job_age_seconds": "20x90",
    "autoscorer_jobs_overdue": "0x90",
    'autoscorer_jobs{queue="cpu",state="queued",instance="a"}': "4x90",
    'autoscorer_jobs{queue="cpu",state="queued",instance="b"}': "4x90",
    'autoscorer_jobs{queue="cpu",state="running",instance="a"}': "1x90",
    'autoscorer_workers{queue="cpu",state="claiming"}': "2x90",
    'autoscorer_workers{queue="cpu",state="paused"}': "0x90",
    "autoscorer_worker_slots": "4x90",
    'autoscorer_queue_latency_seconds_bucket{queue="cpu",le="10"}': "0+60x90",
    'autoscorer_queue_latency_seconds_bucket{queue="cpu",le="1000"}': "0+60x90",
    'autoscorer_queue_latency_seconds_bucket{queue="cpu",le="+Inf"}': "0+60x90",
    'autoscorer_jobs_ended_total{action="run",state="succeeded",code="none",blame="nobody"}': "0+60x90",
    'autoscorer_jobs_ended_total{action="run",state="failed",code="EXEC_ERROR",blame="platform"}': "0x90",
    'autoscorer_jobs_ended_total{action="run",state="failed",code="TIME_LIMIT",blame="participant"}': (
        "0+60x90"
    ),
    'autoscorer_attempts_ended_total{end="lost",code="WORKER_LOST"}': "0x90",
    'autoscorer_attempts_ended_total{end="given_back",code="RESOURCE_UNAVAILABLE"}': "0x90",
    'autoscorer_disk_free_bytes{folder="data",instance="a"}': "50x90",
    'autoscorer_disk_size_bytes{folder="data",instance="a"}': "100x90",
    'autoscorer_machine_memory_available_bytes{instance="a"}': "50x90",
    'autoscorer_machine_memory_size_bytes{instance="a"}': "100x90",
    'autoscorer_scorers{state="failed"}': "0x90",
    'autoscorer_scores_total{scorer="mine",outcome="computed",blame="nobody"}': "0+60x90",
    'autoscorer_scores_total{scorer="mine",outcome="failed",blame="participant"}': "0+60x90",
    'autoscorer_scores_total{scorer="mine",outcome="failed",blame="organiser"}': "0x90",
    'autoscorer_callbacks{state="dead"}': "0x90",
    'autoscorer_callbacks{state="pending"}': "3x90",
    'autoscorer_duties_done_total{duty="reconcile",outcome="done"}': "0+12x90",
    'autoscorer_http_requests_total{method="GET",route="/x",status="200"}': "0+60x90",
    'autoscorer_http_requests_total{method="GET",route="/x",status="404"}': "0+60x90",
    'autoscorer_http_requests_total{method="GET",route="/x",status="500"}': "0x90",
    'autoscorer_http_request_duration_seconds_bucket{route="/x",le="0.1"}': "0+60x90",
    'autoscorer_http_request_duration_seconds_bucket{route="/x",le="5"}': "0+60x90",
    'autoscorer_http_request_duration_seconds_bucket{route="/x",le="+Inf"}': "0+60x90",
    'autoscorer_http_request_duration_seconds_bucket{route="/run",le="0.1"}': "0x90",  # waits for its job
    'autoscorer_http_request_duration_seconds_bucket{route="/run",le="+Inf"}': "0+600x90",
}
_ENDED = 'autoscorer_jobs_ended_total{action="run",state='
_SCORED = 'autoscorer_scores_total{scorer="mine",outcome='
_LATENCY = "autoscorer_queue_latency_seconds_bucket"
_ANSWERED = 'autoscorer_http_request_duration_seconds_bucket{route="/x",le='

# For each alert: what is different when it goes off, and what is still no reason.
CASES: Mapping[str, tuple[Series, Series]] = {
    "AutoscorerDown": (
        {'up{job="autoscorer-api",instance="a"}': "0x90"},
        {'up{job="another",instance="a"}': "0x90"},
    ),
    "AutoscorerStoreDown": (
        {'autoscorer_store_up{instance="a"}': "0x90"},
        {'autoscorer_store_up{instance="a"}': "1x59 0 1x30"},
    ),
    "AutoscorerBacklog": (
        {"autoscorer_oldest_waiting_job_age_seconds": "901x90"},
        {"autoscorer_oldest_waiting_job_age_seconds": "900x90"},
    ),
    "AutoscorerQueueLong": (
        {'autoscorer_jobs{queue="cpu",state="queued",instance="a"}': "1001x90"},
        # Two processes tell of the same 600.
        {
            'autoscorer_jobs{queue="cpu",state="queued",instance="a"}': "600x90",
            'autoscorer_jobs{queue="cpu",state="queued",instance="b"}': "600x90",
        },
    ),
    "AutoscorerQueueSlow": (
        {f'{_LATENCY}{{queue="cpu",le="10"}}': "0+50x90"},
        {f'{_LATENCY}{{queue="cpu",le="10"}}': "0+58x90"},
    ),
    "AutoscorerNoWorker": (
        {'autoscorer_workers{queue="cpu",state="claiming"}': "0x90"},
        {
            'autoscorer_workers{queue="cpu",state="claiming"}': "0x90",
            'autoscorer_jobs{queue="cpu",state="queued",instance="a"}': "0x90",
            'autoscorer_jobs{queue="cpu",state="queued",instance="b"}': "0x90",
        },
    ),
    "AutoscorerWorkersPaused": ({'autoscorer_workers{queue="cpu",state="paused"}': "1x90"}, {}),
    "AutoscorerCapacity": (
        {'autoscorer_jobs{queue="cpu",state="running",instance="a"}': "4x90"},
        {
            'autoscorer_jobs{queue="cpu",state="running",instance="a"}': "4x90",
            'autoscorer_jobs{queue="cpu",state="queued",instance="a"}': "0x90",
            'autoscorer_jobs{queue="cpu",state="queued",instance="b"}': "0x90",
        },
    ),
    "AutoscorerResourcesRefused": (
        {'autoscorer_attempts_ended_total{end="given_back",code="RESOURCE_UNAVAILABLE"}': "0+1x90"},
        {'autoscorer_attempts_ended_total{end="given_back",code="WORKER_STOPPED"}': "0+60x90"},
    ),
    "AutoscorerPlatformFailures": (
        {f'{_ENDED}"failed",code="EXEC_ERROR",blame="platform"}}': "0+10x90"},
        # One failure of one job: all of them, but only one.
        {
            f'{_ENDED}"succeeded",code="none",blame="nobody"}}': "9x90",
            f'{_ENDED}"failed",code="TIME_LIMIT",blame="participant"}}': "9x90",
            f'{_ENDED}"failed",code="EXEC_ERROR",blame="platform"}}': "0x55 1x35",
        },
    ),
    "AutoscorerAttemptsLost": (
        {'autoscorer_attempts_ended_total{end="lost",code="WORKER_LOST"}': "0+1x90"},
        {'autoscorer_attempts_ended_total{end="lost",code="WORKER_LOST"}': "0x55 2x35"},
    ),
    "AutoscorerDiskLow": (
        {'autoscorer_disk_free_bytes{folder="data",instance="a"}': "9x90"},
        {'autoscorer_disk_free_bytes{folder="data",instance="a"}': "10x90"},
    ),
    "AutoscorerMemoryLow": (
        {'autoscorer_machine_memory_available_bytes{instance="a"}': "4x90"},
        {'autoscorer_machine_memory_available_bytes{instance="a"}': "5x90"},
    ),
    "AutoscorerScorerLoadFailed": (
        {'autoscorer_scorers{state="failed"}': "1x90"},
        {'autoscorer_scorers{state="loaded"}': "9x90"},
    ),
    "AutoscorerScorerFails": (
        {f'{_SCORED}"failed",blame="organiser"}}': "0+20x90"},
        {f'{_SCORED}"failed",blame="organiser"}}': "0+10x90"},  # 10 of 130
    ),
    "AutoscorerCallbacksDead": ({'autoscorer_callbacks{state="dead"}': "1x90"}, {}),
    "AutoscorerCallbacksPending": (
        {'autoscorer_callbacks{state="pending"}': "101x90"},
        {'autoscorer_callbacks{state="pending"}': "3x55 500x9 3x20"},  # many at once, soon delivered
    ),
    "AutoscorerMaintenanceStopped": (
        {"autoscorer_jobs_overdue": "1x90"},
        {"autoscorer_jobs_overdue": "0x55 3x3 0x30"},  # taken up again within minutes
    ),
    "AutoscorerApiErrors": (
        {'autoscorer_http_requests_total{method="GET",route="/x",status="500"}': "0+3x90"},
        {'autoscorer_http_requests_total{method="GET",route="/x",status="500"}': "0+2x90"},  # 2 of 122
    ),
    "AutoscorerApiSlow": ({f'{_ANSWERED}"0.1"}}': "0+50x90"}, {f'{_ANSWERED}"0.1"}}': "0+58x90"}),
}
AT_M = 60


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool") or shutil.which(ROOT / ".cache" / "promtool")
    if found is None:
        pytest.skip("promtool is missing; scripts/test-services unpacks it")
    return found


def rules_of(name: str) -> list[dict[str, Any]]:
    return [
        rule
        for group in yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


ALERTS = [rule["alert"] for rule in rules_of("alerts.yml")]


def firing(expected: set[str], series: Series, name: str) -> dict[str, Any]:
    """A case for promtool: of all alerts exactly these go off."""
    samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(expected)]
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in {**WELL, **series}.items()],
        "promql_expr_test": [
            {
                "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{AT_M}m",
                "exp_samples": samples,
            }
        ],
    }


def tried(
    promtool: str, folder: Path, cases: list[dict[str, Any]], *, thresholds: str | None = None
) -> tuple[bool, str]:
    """Whether promtool agrees, and what it says."""
    shutil.copy(FOLDER / "alerts.yml", folder)
    text = (FOLDER / "thresholds.yml").read_text() if thresholds is None else thresholds
    (folder / "thresholds.yml").write_text(text)
    test = {"rule_files": ["thresholds.yml", "alerts.yml"], "evaluation_interval": "1m", "tests": cases}
    (folder / "test.yml").write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode == 0, done.stdout + done.stderr


def together(apart: Iterable[Series]) -> list[Series]:
    """As few as will do: those that are about different series can be tried at once."""
    packs: list[dict[str, str]] = []
    for series in apart:
        pack = next((pack for pack in packs if not pack.keys() & series.keys()), None)
        if pack is None:
            packs.append(pack := {})
        pack |= series
    return [pack for pack in packs if pack]


@pytest.mark.slow
def test_prometheus_reads_the_rules_and_the_sample(promtool: str) -> None:
    subprocess.run(
        [promtool, "check", "rules", FOLDER / "alerts.yml", FOLDER / "thresholds.yml"],
        check=True,
        capture_output=True,
    )
    subprocess.run(
        [promtool, "check", "config", "--syntax-only", FOLDER / "prometheus.yml"],
        check=True,
        capture_output=True,
    )


@pytest.mark.slow
def test_what_is_told_is_as_prometheus_would_have_it(promtool: str) -> None:
    store = MemoryStore()
    observe(store)
    told = Scrape(Config("/nowhere").settings, store).text()
    done = subprocess.run([promtool, "check", "metrics"], input=told, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@pytest.mark.slow
def test_every_alert_goes_off_by_its_reason_and_by_nothing_less(promtool: str, tmp_path: Path) -> None:
    cases = [firing(set(), {}, "all is well")]
    cases += [firing({alert}, reason, alert) for alert, (reason, _) in CASES.items()]
    cases += [firing(set(), series, "no reason") for series in together(no for _, no in CASES.values())]
    agrees, said = tried(promtool, tmp_path, cases)
    assert agrees, said


@pytest.mark.slow
def test_the_control_an_alert_that_is_not_expected_is_noticed(promtool: str, tmp_path: Path) -> None:
    reason, _ = CASES["AutoscorerBacklog"]
    agrees, _said = tried(promtool, tmp_path, [firing(set(), reason, "wrong")])
    assert not agrees


@pytest.mark.slow
def test_a_threshold_can_be_set(promtool: str, tmp_path: Path) -> None:
    text = (FOLDER / "thresholds.yml").read_text().replace("vector(900)", "vector(5000)")
    case = firing(set(), {"autoscorer_oldest_waiting_job_age_seconds": "4999x90"}, "below")
    agrees, said = tried(promtool, tmp_path, [case], thresholds=text)
    assert agrees, said


@pytest.mark.slow
def test_thresholds_that_are_missing_are_told_of(promtool: str, tmp_path: Path) -> None:
    case = firing({"AutoscorerThresholdsMissing"}, CASES["AutoscorerBacklog"][0], "no thresholds")
    agrees, said = tried(promtool, tmp_path, [case], thresholds="groups: []\n")
    assert agrees, said


def test_every_alert_is_tried_and_says_what_it_means_in_two_languages() -> None:
    assert {*CASES, "AutoscorerThresholdsMissing"} == set(ALERTS)
    for rule in rules_of("alerts.yml"):
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "summary_zh", "action", "action_zh"}


def test_every_threshold_is_used_and_every_one_that_is_used_is_there() -> None:
    used = set(re.findall(r"autoscorer:threshold:\w+", (FOLDER / "alerts.yml").read_text()))
    assert used == {rule["record"] for rule in rules_of("thresholds.yml")}


def asked_by_rules() -> list[tuple[str, str]]:
    return [(rule["alert"], rule["expr"]) for rule in rules_of("alerts.yml")]


def asked_by_the_dashboard() -> list[tuple[str, str]]:
    panels = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


@pytest.mark.parametrize("asked", [asked_by_rules, asked_by_the_dashboard])
def test_everything_that_is_asked_for_is_measured(asked: Callable[[], list[tuple[str, str]]]) -> None:
    """Names and labels; values of labels are tried where they are made (`tests/test_telemetry.py`)."""
    known: dict[str, set[str]] = {name: {"instance", "job"} for name in STANDARD}
    for instrument in REGISTRY.instruments:
        labels = set(instrument.labels) | {"instance", "job"}
        suffixes = ("_bucket", "_sum", "_count") if instrument.kind == "histogram" else ("",)
        for suffix in suffixes:
            known[instrument.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    thresholds = {rule["record"] for rule in rules_of("thresholds.yml")}
    for where, expression in asked():
        assert set(re.findall(r"autoscorer:threshold:\w+", expression)) <= thresholds, where
        found = re.findall(r"\b(autoscorer_\w+|process_\w+|up)\b(?:\{([^}]*)\})?", expression)
        assert found or "threshold" in expression, where
        for name, selector in found:
            assert name in known, f"{where}: {name}"
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= known[name], where


@pytest.mark.slow
def test_prometheus_understands_every_query_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": "tried:query", "expr": expression} for _, expression in asked_by_the_dashboard()]
    for number, rule in enumerate(rules):
        rule["record"] += str(number)
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "tried", "rules": rules}]}))
    subprocess.run([promtool, "check", "rules", tmp_path / "queries.yml"], check=True, capture_output=True)
