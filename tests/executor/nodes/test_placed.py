"""Jobs on several nodes, with stub engines: who gets which, who waits, and whose failures count."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from autoscorer import pipeline, runtime
from autoscorer.executor.base import (
    AttemptPlan,
    Executor,
    IsAlive,
    OnEvent,
    Reaped,
    RunOutcome,
    StopReason,
    StopSignal,
)
from autoscorer.executor.docker.containers import REFUSED_START
from autoscorer.executor.nodes.breaker import FAILURES, Breaker
from autoscorer.executor.nodes.placed import PlacedExecutor
from autoscorer.executor.nodes.pool import NodePool, Seat
from autoscorer.executor.nodes.ranking import Refusal, Running
from autoscorer.job import JobContext
from autoscorer.scheduler import MAX_ATTEMPTS
from autoscorer.scorers.catalog import Catalog
from autoscorer.utils.config import Config, Node
from autoscorer.utils.errors import AutoscorerError
from tests.executor.attempts import make_plan
from tests.executor.outcomes import ended_well
from tests.workspaces import MakeWorkspace

SETTINGS = Config("/nonexistent.yaml", environ={}).settings


@dataclass
class Site:
    """Two nodes, what is said of them, and what the jobs there do."""

    gpus: Mapping[str, int] = field(default_factory=lambda: {"a": 2, "b": 1})
    running: dict[str, Running] = field(default_factory=dict)
    sick: dict[str, str] = field(default_factory=dict)
    faults: dict[str, AutoscorerError] = field(default_factory=dict)
    faults_at_start: dict[str, AutoscorerError] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    selector: Mapping[str, str] = field(default_factory=dict)
    failures: int = 2  # that open a breaker; a node that is silent is asked for each seat

    def pool(self) -> NodePool:
        nodes = [
            Node(name=name, host=f"tcp://{name}:1", gpus=gpus, labels={"name": name})
            for name, gpus in self.gpus.items()
        ]
        return NodePool(
            nodes,
            load=lambda node: self.running.get(node.name, Running()),
            health=lambda node: self.sick.get(node.name),
            selector=self.selector,
            make_breaker=lambda: Breaker(failures=self.failures, back_off_s=1000),
        )

    def executor(self, pool: NodePool | None = None, *, wait_s: float = 0) -> PlacedExecutor:
        return PlacedExecutor(
            pool or self.pool(), lambda node: StubOnNode(self, node.name), wait_s=wait_s, look_again_s=0.01
        )

    def run(self, plan: AttemptPlan, executor: PlacedExecutor, **changes: Any) -> RunOutcome:
        given: dict[str, Any] = {"stop": lambda: None, "on_event": lambda *row: self.events.append(row)}
        return executor.run(plan, **given | changes)


class StubOnNode(Executor):
    name = "docker"

    def __init__(self, site: Site, node: str) -> None:
        self.site, self.node = site, node

    def prepare(self, plan: AttemptPlan, *, stop: StopSignal, on_event: OnEvent) -> None:
        if self.node in self.site.faults_at_start:
            raise self.site.faults_at_start[self.node]

    def launch(self, plan: AttemptPlan, *, on_event: OnEvent) -> None:
        self.site.ran.append(self.node)
        (plan.out_dir / "pred.csv").write_text("id,label\n1,cat\n2,cat\n")

    def wait(self, plan: AttemptPlan, *, stop: StopSignal) -> RunOutcome:
        if self.node in self.site.faults:
            raise self.site.faults[self.node]
        return ended_well(backend="docker", mode="container")

    def clean_up(self, plan: AttemptPlan) -> None:
        return None

    def reap(self, is_alive: IsAlive) -> tuple[Reaped, ...]:
        if self.node in self.site.sick:
            raise AutoscorerError("RESOURCE_UNAVAILABLE", "gone", cause="engine")
        return (Reaped(kind="container", name=f"of-{self.node}"),)


def lost(code: str = "CONTAINER_WAIT_FAILED", cause: str = "") -> AutoscorerError:
    return AutoscorerError(code, "as told", cause=cause)


def place(pool: NodePool, *, gpus: int = 0) -> Seat | list[Refusal]:
    """As a job that does not wait."""
    with pool.request(gpus=gpus, attempt="") as request:
        return pool.place(request)


@pytest.fixture
def plan(tmp_path: Path) -> AttemptPlan:
    return make_plan(tmp_path, ("true",))


def with_gpus(plan: AttemptPlan, gpus: int) -> AttemptPlan:
    return replace(plan, limits=replace(plan.limits, gpus=gpus))


def test_a_job_goes_to_the_node_with_most_gpus_free_and_its_outcome_says_which(plan: AttemptPlan) -> None:
    site = Site(running={"a": Running(jobs=1, gpus=2)})
    outcome = site.run(plan, site.executor())
    assert site.ran == ["b"]
    assert outcome.details["node"] == "b"
    assert outcome.details["scheduling_seconds"] >= 0
    assert [name for name, _ in site.events] == ["node_chosen"]


def test_jobs_placed_and_not_yet_seen_by_the_engine_count(plan: AttemptPlan) -> None:
    site = Site(gpus={"a": 1, "b": 1})
    pool = site.pool()
    names = [seat.node.name for seat in (place(pool, gpus=1), place(pool, gpus=1)) if isinstance(seat, Seat)]
    assert sorted(names) == ["a", "b"]
    refused = place(pool, gpus=1)
    assert isinstance(refused, list)
    assert all(row.passes for row in refused)


def test_a_job_whose_data_are_brought_in_counts_once(plan: AttemptPlan) -> None:
    """Its container of ours is seen by the engine long before its program begins."""
    site = Site(gpus={"a": 2})
    pool = site.pool()
    with pool.request(gpus=1, attempt="/ws/.attempts/1") as request:
        assert isinstance(pool.place(request), Seat)
    site.running["a"] = Running(jobs=1, gpus=1, attempts=frozenset({"/ws/.attempts/1"}))
    seat = place(pool, gpus=1)
    assert isinstance(seat, Seat)
    seat.leave(None)
    site.running["a"] = Running(jobs=1, gpus=1)  # the control: of an attempt that nobody names it is another
    assert isinstance(place(pool, gpus=1), list)


def test_gpus_that_get_free_go_to_the_job_that_has_waited_longest(plan: AttemptPlan) -> None:
    site = Site(gpus={"a": 2}, running={"a": Running(jobs=1, gpus=2)})
    pool = site.pool()
    with pool.request(gpus=2, attempt="large") as large, pool.request(gpus=1, attempt="small") as small:
        assert isinstance(pool.place(large), list)
        site.running["a"] = Running(jobs=1, gpus=1)
        assert pool.place(small) == [
            Refusal(
                node="a",
                why="0 of its 2 GPUs are free, the others taken or kept for jobs that came earlier",
                passes=True,
            )
        ]
        assert isinstance(pool.place(large), list)
        site.running.clear()
        assert isinstance(pool.place(small), list)
        seat = pool.place(large)
        assert isinstance(seat, Seat)
        seat.leave(None)
        assert isinstance(pool.place(small), Seat)


def test_a_job_that_waits_no_more_keeps_no_gpus(plan: AttemptPlan) -> None:
    site = Site(gpus={"a": 2}, running={"a": Running(jobs=1, gpus=1)})
    pool = site.pool()
    with pool.request(gpus=2, attempt="large") as large:
        assert isinstance(pool.place(large), list)
        assert isinstance(place(pool, gpus=1), list)  # the control: while it waits it does
        assert isinstance(place(pool, gpus=0), Seat)
    assert isinstance(place(pool, gpus=1), Seat)


def test_many_small_jobs_do_not_keep_a_large_one_waiting(tmp_path: Path) -> None:
    site, started = Site(gpus={"a": 2}), threading.Event()
    executor, order = site.executor(wait_s=60), list[str]()
    site.running["a"] = Running(jobs=2, gpus=2)

    def work(name: str, gpus: int) -> None:
        def hear(event: str, _facts: Mapping[str, Any]) -> None:
            if event == "node_awaited" and name == "large":
                started.set()
            elif event == "node_chosen":
                order.append(name)

        (folder := tmp_path / name).mkdir()
        site.run(with_gpus(make_plan(folder, ("true",)), gpus), executor, on_event=hear)

    names = ["large", *(f"small{number}" for number in range(6))]
    threads = [threading.Thread(target=work, args=(name, 2 if name == "large" else 1)) for name in names]
    threads[0].start()
    assert started.wait(30)
    site.running["a"] = Running(jobs=1, gpus=1)
    for thread in threads[1:]:
        thread.start()
    site.running.clear()
    for thread in threads:
        thread.join()
    assert order[0] == "large"
    assert sorted(order) == sorted(names)


def test_many_jobs_at_once_never_get_more_gpus_than_there_are() -> None:
    site = Site(gpus={"a": 3, "b": 2})
    pool, found = site.pool(), []
    threads = [threading.Thread(target=lambda: found.append(place(pool, gpus=1))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seat.node.name for seat in found if isinstance(seat, Seat)) == ["a", "a", "a", "b", "b"]


def test_a_node_without_the_operators_label_is_passed_over(plan: AttemptPlan) -> None:
    site = Site(selector={"name": "b"})
    site.run(plan, site.executor())
    assert site.ran == ["b"]


def test_a_job_waits_until_gpus_are_free_and_says_so(plan: AttemptPlan) -> None:
    site = Site(gpus={"a": 2, "c": 0}, running={"a": Running(jobs=1, gpus=1)})

    def hear(name: str, facts: Mapping[str, Any]) -> None:
        site.events.append((name, facts))
        if name == "node_awaited":
            site.running.clear()

    outcome = site.run(with_gpus(plan, 2), site.executor(wait_s=60), on_event=hear)
    assert [name for name, _ in site.events] == ["node_awaited", "node_chosen"]
    assert site.events[0][1]["nodes"] == {"a": "1 of its 2 GPUs are free", "c": "it has 0 GPUs"}
    assert outcome.details["scheduling_seconds"] > 0


@pytest.mark.parametrize(
    ("reason", "code"),
    [(StopReason.CANCELLED, "CANCELLED"), (StopReason.WORKER_STOPPED, "WORKER_STOPPED")],
)
def test_a_job_that_waits_can_be_stopped(plan: AttemptPlan, reason: StopReason, code: str) -> None:
    site = Site(running={"a": Running(jobs=1, gpus=2), "b": Running(jobs=1, gpus=1)})
    with pytest.raises(AutoscorerError) as caught:
        site.run(with_gpus(plan, 1), site.executor(wait_s=60), stop=lambda: reason)
    assert caught.value.code == code
    assert site.ran == []


def test_a_job_that_no_node_can_ever_run_does_not_wait(plan: AttemptPlan) -> None:
    site = Site()
    with pytest.raises(AutoscorerError) as caught:
        site.run(with_gpus(plan, 3), site.executor(wait_s=60))
    assert caught.value.details["nodes"] == {"a": "it has 2 GPUs", "b": "it has 1 GPUs"}


def test_a_node_that_does_not_answer_is_passed_over_and_left_alone_when_it_goes_on(plan: AttemptPlan) -> None:
    site = Site(sick={"a": "no engine answers there"})
    pool = site.pool()
    for _ in range(2):
        site.run(plan, site.executor(pool))
    site.sick.clear()
    site.run(plan, site.executor(pool))
    assert site.ran == ["b", "b", "b"]


def test_a_job_waits_for_a_node_that_is_silent_and_says_which_and_why(plan: AttemptPlan) -> None:
    site = Site(gpus={"a": 0}, sick={"a": "no engine answers there"})
    with pytest.raises(AutoscorerError, match="a: no engine answers there") as caught:
        site.run(plan, site.executor(wait_s=0))  # the control: a job that may not wait
    assert caught.value.retryable

    def hear(name: str, facts: Mapping[str, Any]) -> None:
        site.events.append((name, facts))
        site.sick.clear()

    site.run(plan, site.executor(wait_s=60), on_event=hear)
    assert site.events[0] == ("node_awaited", {"gpus": 0, "nodes": {"a": "no engine answers there"}})
    assert site.ran == ["a"]


def test_a_node_that_fails_before_the_program_runs_costs_the_job_nothing(plan: AttemptPlan) -> None:
    site = Site(faults_at_start={"a": lost("RESOURCE_UNAVAILABLE", "engine")})
    site.run(plan, site.executor())
    assert site.ran == ["b"]
    assert [name for name, _ in site.events] == ["node_chosen", "node_failed", "node_chosen"]


def test_a_fault_of_the_submission_is_not_tried_on_another_node(plan: AttemptPlan) -> None:
    site = Site(faults_at_start={"a": lost("IMAGE_INVALID")})
    with pytest.raises(AutoscorerError) as caught:
        site.run(plan, site.executor())
    assert caught.value.code == "IMAGE_INVALID"
    assert site.ran == []


NO_IMAGE, DENIED = lost("IMAGE_NOT_PRESENT"), lost("IMAGE_PULL_FAILED", "denied")
NO_REGISTRY, FULL = lost("IMAGE_PULL_FAILED", "network"), lost("RESOURCE_UNAVAILABLE", "disk")


@pytest.mark.parametrize("fault", [NO_IMAGE, DENIED, NO_REGISTRY, FULL], ids=str)
def test_a_job_whose_image_one_node_cannot_have_runs_on_another(
    plan: AttemptPlan, fault: AutoscorerError
) -> None:
    site = Site(faults_at_start={"a": fault})
    pool = site.pool()
    for _ in range(2):
        site.run(plan, site.executor(pool))
    assert site.ran == ["b", "b"]
    site.faults_at_start.clear()  # none of it is a fault of the node's: nothing has opened its breaker
    site.run(plan, site.executor(pool))
    assert site.ran[-1] == "a"


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"a": NO_IMAGE, "b": NO_IMAGE}, NO_IMAGE),
        ({"a": NO_REGISTRY, "b": NO_REGISTRY}, NO_REGISTRY),
        ({"a": NO_REGISTRY, "b": DENIED}, DENIED),
        ({"a": DENIED, "b": NO_REGISTRY}, DENIED),
        ({"a": FULL, "b": DENIED}, DENIED),
    ],
)
def test_an_image_that_no_node_can_have_is_told_as_that(
    plan: AttemptPlan, faults: dict[str, AutoscorerError], expected: AutoscorerError
) -> None:
    site = Site(faults_at_start=faults)
    with pytest.raises(AutoscorerError) as caught:
        site.run(plan, site.executor(wait_s=60))
    assert caught.value is expected


@pytest.mark.parametrize("wait_s", [0, 60])
def test_whoever_fails_on_nodes_of_several_faults_is_told_each(plan: AttemptPlan, wait_s: float) -> None:
    site = Site(faults_at_start={"a": NO_IMAGE, "b": lost("RESOURCE_UNAVAILABLE", "engine")})
    with pytest.raises(AutoscorerError) as caught:
        site.run(plan, site.executor(wait_s=wait_s))
    assert (caught.value.code, caught.value.cause) == ("RESOURCE_UNAVAILABLE", "nodes")
    assert caught.value.details["nodes"] == {
        "a": "it could not take this job: IMAGE_NOT_PRESENT, as told",
        "b": "it could not take this job: RESOURCE_UNAVAILABLE, as told",
    }


AWAY = {
    "silent": {"sick": {"b": "no engine answers there"}},
    "busy": {"running": {"b": Running(jobs=1, gpus=1)}},
}


@pytest.mark.parametrize("others", AWAY.values(), ids=AWAY)
def test_what_the_registry_refuses_is_told_at_once_whoever_is_silent_or_busy(
    plan: AttemptPlan, others: dict[str, Any]
) -> None:
    site = Site(faults_at_start={"a": DENIED}, **others)
    with pytest.raises(AutoscorerError) as caught:
        site.run(with_gpus(plan, 1), site.executor(wait_s=60))
    assert caught.value is DENIED
    assert [name for name, _ in site.events] == ["node_chosen", "node_failed"]


@pytest.mark.parametrize("fault", [NO_IMAGE, NO_REGISTRY, FULL], ids=str)
@pytest.mark.parametrize("others", AWAY.values(), ids=AWAY)
def test_a_job_waits_for_the_silent_or_busy_node_that_may_have_its_image(
    plan: AttemptPlan, others: dict[str, Any], fault: AutoscorerError
) -> None:
    site = Site(failures=9, faults_at_start={"a": fault}, **copy.deepcopy(others))

    def hear(name: str, _facts: Mapping[str, Any]) -> None:
        if name == "node_awaited":
            site.running.clear()
            site.sick.clear()

    site.run(with_gpus(plan, 1), site.executor(wait_s=60), on_event=hear)
    assert site.ran == ["b"]


@pytest.mark.parametrize("fault", [NO_IMAGE, NO_REGISTRY], ids=str)
@pytest.mark.parametrize("others", AWAY.values(), ids=AWAY)
def test_a_job_that_has_waited_its_time_is_told_of_its_image_and_not_of_who_was_silent(
    plan: AttemptPlan, others: dict[str, Any], fault: AutoscorerError
) -> None:
    site = Site(faults_at_start={"a": fault}, **others)
    with pytest.raises(AutoscorerError) as caught:
        site.run(with_gpus(plan, 1), site.executor(wait_s=0.02))
    assert caught.value is fault
    site = Site(faults_at_start={"a": FULL}, **others)  # the control: it was not its image
    with pytest.raises(AutoscorerError) as caught:
        site.run(with_gpus(plan, 1), site.executor(wait_s=0.02))
    assert (caught.value.code, caught.value.cause) == ("RESOURCE_UNAVAILABLE", "nodes")


def test_the_image_of_a_job_that_has_waited_goes_before_a_node_that_failed_otherwise(
    plan: AttemptPlan,
) -> None:
    site = Site(
        gpus={"a": 2, "b": 1, "c": 0},
        faults_at_start={"a": NO_IMAGE, "b": lost("RESOURCE_UNAVAILABLE", "engine")},
        sick={"c": "no engine answers there"},
    )
    with pytest.raises(AutoscorerError) as caught:
        site.run(plan, site.executor(wait_s=0))
    assert caught.value is NO_IMAGE


@pytest.mark.parametrize(
    ("fault", "opens"),
    [
        (lost(), True),
        (lost("EXEC_ERROR"), True),
        (AutoscorerError("EXEC_ERROR", "as told", {REFUSED_START: True}), False),
        (lost("CONTAINER_CREATE_FAILED"), True),
        (AutoscorerError("RESOURCE_UNAVAILABLE", "as told", {"setting": "DOCKER_TRANSPORT"}), True),
        (AutoscorerError("RESOURCE_UNAVAILABLE", "as told", {"setting": "ALLOWED_NETWORKS"}), False),
        (lost("CONTAINER_EXIT_NONZERO"), False),
        (lost("TIME_LIMIT"), False),
        (lost("MEMORY_LIMIT"), False),
        (lost("OUTPUT_INVALID"), False),
        (lost("CANCELLED"), False),
        (lost("IMAGE_PULL_FAILED", "network"), False),
        (lost("RESOURCE_UNAVAILABLE", "disk"), False),
    ],
    ids=lambda row: row.code if isinstance(row, AutoscorerError) else "",
)
def test_only_a_nodes_own_failures_open_its_breaker(
    plan: AttemptPlan, fault: AutoscorerError, *, opens: bool
) -> None:
    site = Site(faults={"a": fault})
    pool = site.pool()
    for _ in range(2):
        with pytest.raises(AutoscorerError):
            site.run(plan, site.executor(pool))
    site.run(plan, site.executor(pool)) if opens else None
    assert site.ran == (["a", "a", "b"] if opens else ["a", "a"])
    found = place(pool, gpus=0)
    assert isinstance(found, Seat)
    assert found.node.name == ("b" if opens else "a")


def test_a_participants_failure_clears_a_node_as_a_success_does(plan: AttemptPlan) -> None:
    site, faults = Site(), [lost(), lost("TIME_LIMIT"), lost(), lost("TIME_LIMIT")]
    pool = site.pool()
    for fault in faults:
        site.faults["a"] = fault
        with pytest.raises(AutoscorerError):
            site.run(plan, site.executor(pool))
    assert site.ran == ["a"] * 4


def test_what_is_refused_before_a_container_begins_does_not_speak_for_a_node(plan: AttemptPlan) -> None:
    """Control: a participant's failure in a container, above."""
    site = Site()
    pool = site.pool()
    for _ in range(2):
        site.faults_at_start.clear()
        site.faults["a"] = lost()
        with pytest.raises(AutoscorerError):
            site.run(plan, site.executor(pool))
        site.faults_at_start = {"a": NO_IMAGE, "b": NO_IMAGE}
        with pytest.raises(AutoscorerError, match=NO_IMAGE.message):
            site.run(plan, site.executor(pool))
    site.faults_at_start.clear()
    site.run(plan, site.executor(pool))
    assert site.ran == ["a", "a", "b"]


def test_a_node_lost_mid_run_costs_a_try_and_the_next_goes_elsewhere(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(program="pass")
    site = Site(faults={"a": lost()})

    def on_stage(stage: str) -> None:
        if stage == "prepare" and site.ran:
            site.sick["a"] = "no engine answers there"

    executor = site.executor()
    context = JobContext(settings=SETTINGS, choose=lambda: executor, catalog=Catalog(), on_stage=on_stage)
    result = pipeline.run_then_score(context, workspace).result
    assert site.ran == ["a", "b"]
    assert result.versioning["node"] == "b"
    assert "scheduling_seconds" in result.timing
    lines = (workspace / "logs" / "job.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert [name for name in events if name in ("node_chosen", "job_retried")] == [
        "node_chosen",
        "job_retried",
        "node_chosen",
    ]


def test_while_it_waits_for_a_node_the_jobs_stage_says_so(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(program="pass", spec={"resources": {"gpus": 1}})
    site = Site(gpus={"a": 1}, running={"a": Running(jobs=1, gpus=1)})
    stages: list[str] = []

    def on_stage(stage: str) -> None:
        stages.append(stage)
        if stage == "wait_for_node":
            site.running.clear()

    context = JobContext(
        settings=SETTINGS, choose=lambda: site.executor(wait_s=60), catalog=Catalog(), on_stage=on_stage
    )
    pipeline.run(context, workspace)
    assert stages == ["prepare", "execute", "wait_for_node", "execute", "harvest"]


def test_one_node_that_is_down_keeps_nobody_from_cleaning_the_others() -> None:
    site = Site(sick={"a": "gone"})
    with pytest.raises(AutoscorerError) as caught:
        site.executor().reap(lambda _owner: False)
    assert caught.value.details["removed"] == ["of-b"]
    assert list(caught.value.details["nodes"]) == ["a"]
    site.sick.clear()
    assert [row.name for row in site.executor().reap(lambda _owner: False)] == ["of-a", "of-b"]


def test_whoever_starts_a_worker_may_bring_ways_of_telling_load_and_health() -> None:
    from autoscorer import runtime

    nodes = (Node(name="a", host="tcp://127.0.0.1:1"), Node(name="b", host="tcp://127.0.0.1:1"))
    settings = replace(SETTINGS, nodes=nodes)
    health: Callable[[Node], str | None] = lambda node: "on holiday" if node.name == "a" else None  # noqa: E731
    pool = runtime.node_pool(settings, load=lambda _node: Running(), health=health)
    assert pool is not None
    seat = place(pool, gpus=0)
    assert isinstance(seat, Seat)
    assert seat.node.name == "b"
    assert runtime.node_pool(SETTINGS) is None


def test_a_job_waits_for_a_node_that_is_left_alone_and_goes_there_when_it_is_tried_again(
    plan: AttemptPlan,
) -> None:
    site, now = Site(gpus={"a": 0}, faults={"a": lost()}), [0.0]
    nodes = [Node(name="a", host="tcp://a:1")]
    pool = NodePool(
        nodes,
        load=lambda _node: Running(),
        health=lambda _node: None,
        make_breaker=lambda: Breaker(back_off_s=120, clock=lambda: now[0]),
    )
    for _ in range(2):
        with pytest.raises(AutoscorerError, match="as told"):
            site.run(plan, site.executor(pool))
    site.faults.clear()
    with pytest.raises(AutoscorerError, match="No node can take"):  # the control: a job that may not wait
        site.run(plan, site.executor(pool, wait_s=0))

    def hear(name: str, _facts: Mapping[str, Any]) -> None:
        now[0] += 121 * (name == "node_awaited")

    outcome = site.run(plan, site.executor(pool, wait_s=900), on_event=hear)
    assert outcome.details["node"] == "a"


def test_one_node_that_fails_every_job_cannot_cost_a_job_all_its_tries() -> None:
    assert FAILURES < MAX_ATTEMPTS


@pytest.mark.parametrize("broken", ["event", "make"])
def test_a_seat_is_given_back_whatever_goes_wrong_on_the_way_to_the_node(
    plan: AttemptPlan, broken: str
) -> None:
    site = Site(gpus={"a": 1})
    pool = site.pool()

    def fail(*_given: object) -> Any:
        raise OSError("the log's disk is full")

    make = fail if broken == "make" else lambda node: StubOnNode(site, node.name)
    hear = fail if broken == "event" else lambda *_row: None
    with pytest.raises(OSError, match="full"):
        site.run(with_gpus(plan, 1), PlacedExecutor(pool, make, wait_s=0), on_event=hear)
    assert isinstance(place(pool, gpus=1), Seat)


def test_a_job_that_names_no_backend_waits_for_silent_nodes_as_one_that_names_docker() -> None:
    silent = replace(SETTINGS, docker_host="unix:///nowhere.sock")
    nodes = (Node(name="a", host="unix:///nowhere.sock"),)
    with pytest.raises(AutoscorerError, match="no container engine answers"):
        runtime.make_executor("auto", silent)
    settings = replace(silent, nodes=nodes)
    for backend in ("auto", "docker"):
        made = runtime.make_executor(backend, settings, nodes=runtime.node_pool(settings))
        assert isinstance(made, PlacedExecutor)
    with pytest.raises(AutoscorerError, match="no container engine answers"):
        runtime.make_executor("auto", settings)  # by hand it is told at once
