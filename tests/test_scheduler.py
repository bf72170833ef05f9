"""What a job may use, where it goes, and when it is tried again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from autoscorer import pipeline, scheduler
from autoscorer.ending import goes_again
from autoscorer.executor.base import AttemptPlan, Executor, OnEvent, RunOutcome, StopSignal
from autoscorer.job import JobContext
from autoscorer.schemas.job import JobSpec
from autoscorer.scorers.catalog import Catalog
from autoscorer.utils.config import Config, Node
from autoscorer.utils.errors import AutoscorerError
from tests.executor.outcomes import ended_well
from tests.workspaces import MakeWorkspace

SETTINGS = Config(environ={}).settings


def spec(**changes: Any) -> JobSpec:
    return JobSpec.model_validate({"job_id": "a", "task_type": "t", "scorer": "s", **changes})


def test_what_a_spec_leaves_out_is_the_operators_default() -> None:
    limits = scheduler.resolve_limits(spec(), SETTINGS)
    assert (limits.cpu_cores, limits.memory_bytes, limits.gpus) == (2, 4 * 2**30, 0)
    assert limits.time_limit_s == SETTINGS.timeout_s


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"resources": {"cpu": 65}}, "resources.cpu"),
        ({"resources": {"memory": "65Gi"}}, "resources.memory"),
        ({"resources": {"gpus": 9}}, "resources.gpus"),
        ({"time_limit": 86_401}, "time_limit"),
        ({"container": {"image": "x", "shm_size": "65Gi"}}, "container.shm_size"),
        ({"container": {"image": "x", "network_policy": "bridge"}}, "container.network_policy"),
    ],
)
def test_more_than_the_operator_allows_is_refused_and_never_clamped(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(AutoscorerError) as caught:
        scheduler.resolve_limits(spec(**changes), SETTINGS)
    assert caught.value.code == "LIMIT_EXCEEDED"
    assert [row["field"] for row in caught.value.details["excess"]] == [field]


def test_memory_beyond_the_maximum_is_told_in_the_units_it_is_written_in() -> None:
    with pytest.raises(AutoscorerError) as caught:
        scheduler.resolve_limits(spec(resources={"memory": "4Ti"}), SETTINGS)
    assert caught.value.message == "resources.memory asks for 4Ti, MAX_MEMORY allows 64Gi"


def test_just_the_maximum_is_fine() -> None:
    asked = spec(resources={"cpu": 64, "memory": "64Gi", "gpus": 8}, time_limit=86_400)
    assert scheduler.resolve_limits(asked, SETTINGS).cpu_cores == 64


def test_a_network_the_operator_names_is_allowed() -> None:
    allowing = replace(SETTINGS, allowed_networks=("lab",))
    assert scheduler.resolve_limits(spec(container={"image": "x", "network_policy": "lab"}), allowing)


def test_auto_is_docker_where_an_engine_answers_and_never_less_isolation() -> None:
    assert scheduler.choose_backend("auto", lambda: True) == "docker"
    assert scheduler.choose_backend("local", lambda: False) == "local"
    with pytest.raises(AutoscorerError, match="--backend local") as caught:
        scheduler.choose_backend("auto", lambda: False)
    assert (caught.value.code, caught.value.cause) == ("RESOURCE_UNAVAILABLE", "engine")
    assert goes_again(caught.value, is_stopping=False)  # in the service: it may be back soon
    assert not scheduler.may_try_again(caught.value, tries=1)  # by hand it is told at once


def test_each_node_has_its_own_address_transport_and_certificate() -> None:
    nodes = (Node(name="a", host="unix:///a.sock"), Node(name="b", host="tcp://b:1", transport="stream"))
    settings = replace(SETTINGS, nodes=nodes, docker_tls_verify=True)
    found = [
        (each.docker_host, each.docker_transport, each.docker_tls_verify, each.nodes)
        for each in scheduler.on_each_engine(settings)
    ]
    # A Unix socket has no certificate; the others are asked for theirs.
    assert found == [("unix:///a.sock", "auto", False, ()), ("tcp://b:1", "stream", True, ())]
    assert scheduler.on_each_engine(SETTINGS) == [SETTINGS]


def test_what_was_tried_with_back_off_already_is_not_tried_anew_by_the_job() -> None:
    error = AutoscorerError("IMAGE_PULL_FAILED", "the registry is down", cause="network")
    assert scheduler.may_try_again(error, tries=1)
    error.details["tries"] = 4
    assert not scheduler.may_try_again(error, tries=1)


class FailingExecutor(Executor):
    """Fails with ``code`` as often as told, then writes a prediction."""

    name = "failing"

    def __init__(self, code: str, times: int) -> None:
        self.code, self.left, self.runs = code, times, 0

    def launch(self, plan: AttemptPlan, *, on_event: OnEvent) -> None:
        self.runs += 1
        if self.left:
            self.left -= 1
            raise AutoscorerError(self.code, "as told", cause="network")
        (plan.out_dir / "pred.csv").write_text("id,label\n1,cat\n2,cat\n")

    def wait(self, plan: AttemptPlan, *, stop: StopSignal) -> RunOutcome:
        return ended_well(backend="failing", mode="none")

    def clean_up(self, plan: AttemptPlan) -> None:
        return None


def context(executor: Executor) -> JobContext:
    return JobContext(settings=SETTINGS, choose=lambda: executor, catalog=Catalog())


@pytest.mark.parametrize(
    ("code", "times", "runs", "scored"),
    [
        ("CONTAINER_WAIT_FAILED", 2, 3, True),
        ("CONTAINER_WAIT_FAILED", 3, 3, False),
        ("IMAGE_PULL_FAILED", 1, 2, True),
        ("CONTAINER_EXIT_NONZERO", 1, 1, False),
        ("TIME_LIMIT", 1, 1, False),
        ("RESOURCE_UNAVAILABLE", 1, 1, False),
        ("EXEC_ERROR", 1, 1, False),
    ],
)
def test_only_a_passing_fault_of_the_platform_is_tried_again(
    make_workspace: MakeWorkspace, code: str, times: int, runs: int, *, scored: bool
) -> None:
    workspace = make_workspace(program="pass")
    executor = FailingExecutor(code, times)
    if scored:
        assert "score" in pipeline.run_then_score(context(executor), workspace).result.summary
    else:
        with pytest.raises(AutoscorerError) as caught:
            pipeline.run_then_score(context(executor), workspace)
        assert caught.value.code == code
    assert executor.runs == runs
    assert list((workspace / ".attempts").iterdir()) == []
    events = (workspace / "logs" / "job.jsonl").read_text().splitlines()
    assert sum(json.loads(line)["event"] == "job_retried" for line in events) == runs - 1
