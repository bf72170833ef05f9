"""Several nodes for real: engines on TCP that see nothing of ours, jobs spread over them, one that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoscorer import pipeline, service_runtime
from autoscorer.executor.base import AttemptPlan, StopReason
from autoscorer.executor.docker import containers, waiting
from autoscorer.executor.docker.presence import engine_health, engine_load
from autoscorer.executor.docker_executor import DockerExecutor
from autoscorer.executor.nodes.breaker import Breaker
from autoscorer.executor.nodes.placed import PlacedExecutor
from autoscorer.executor.nodes.pool import NodePool
from autoscorer.executor.ownership import process_is_alive
from autoscorer.job import JobContext
from autoscorer.scheduler import settings_on
from autoscorer.scorers.catalog import Catalog
from autoscorer.utils.config import Node, Settings
from autoscorer.utils.errors import AutoscorerError
from tests.executor.attempts import eventually
from tests.executor.docker.containers import BUSYBOX, container_plan, settings
from tests.executor.docker.far_engines import SIDECAR, far_engine, left_on
from tests.executor.docker.own_engine import OwnEngine
from tests.worker.sites import make_site
from tests.workspaces import ROOT, MakeWorkspace

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine of one's own takes root"),
]
PREDICT = "printf 'id,label\\n1,cat\\n2,cat\\n' > output/pred.csv"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[OwnEngine, OwnEngine]]:
    """Two engines of the test's own, to be killed."""
    with far_engine(tmp_path) as one, far_engine(tmp_path) as other:
        yield one, other


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OwnEngine, OwnEngine]]:
    """Two engines for all tests that kill none; each leaves them empty."""
    hidden = tmp_path_factory.getbasetemp()
    with far_engine(hidden) as one, far_engine(hidden) as other:
        yield one, other


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ENGINE_GRACE_S", 3.0)
    monkeypatch.setattr(containers, "ASK_TIMEOUT_S", 1.0)
    monkeypatch.setattr(containers, "REMOVE_TIMEOUT_S", 1.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def nodes_at(engines: tuple[OwnEngine, ...], *gpus: int) -> tuple[Node, ...]:
    pairs = zip(engines, gpus, "abc", strict=False)
    return tuple(Node(name=name, host=engine.address, gpus=number) for engine, number, name in pairs)


def pool_of(used: Settings, nodes: tuple[Node, ...], clock: Clock | None = None) -> NodePool:
    return NodePool(
        nodes,
        load=engine_load(lambda node: settings_on(node, used)),
        health=engine_health(lambda node: settings_on(node, used)),
        make_breaker=lambda: Breaker(failures=2, back_off_s=60, clock=clock or Clock()),
    )


def placed(used: Settings, pool: NodePool) -> PlacedExecutor:
    return PlacedExecutor(pool, lambda node: DockerExecutor(settings_on(node, used)), wait_s=0)


def job(make: MakeWorkspace, script: str) -> Path:
    return make(spec={"container": {"image": BUSYBOX, "cmd": ["sh", "-c", script]}})


def test_jobs_of_two_workers_are_spread_by_what_the_engines_say(
    lasting: tuple[OwnEngine, OwnEngine], tmp_path: Path
) -> None:
    used = settings(tmp_path, **SIDECAR)
    nodes = nodes_at(lasting, 0, 0)
    started, chosen = threading.Barrier(2, timeout=120), threading.Event()

    def first(plan: AttemptPlan) -> Any:
        def hear(name: str, _facts: object) -> None:
            if name == "execution_started":
                started.wait()

        stop = lambda: StopReason.CANCELLED if chosen.is_set() else None  # noqa: E731
        return placed(used, pool_of(used, nodes)).run(plan, stop=stop, on_event=hear)

    def second(plan: AttemptPlan) -> Any:
        def hear(name: str, _facts: object) -> None:
            if name == "node_chosen":
                chosen.set()

        try:  # it chooses when the first one's program runs, and knows of that by no word
            started.wait()
            return placed(used, pool_of(used, nodes)).run(plan, stop=lambda: None, on_event=hear)
        finally:
            chosen.set()

    def plan(name: str, script: str) -> AttemptPlan:
        (tmp_path / name).mkdir()
        return container_plan(tmp_path / name, script)

    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(first, plan("w0", "exec tail -f /dev/null"))
        other = threads.submit(second, plan("w1", "true"))
        assert [job.result().details["node"] for job in (one, other)] == ["a", "b"]
    assert one.result().stopped is StopReason.CANCELLED  # it ran all the while
    assert [left_on(engine) for engine in lasting] == [[], []]


@pytest.mark.fault("a node killed mid-run")
def test_a_node_killed_mid_run_is_the_platforms_fault_and_the_job_ends_well_on_another(
    two: tuple[OwnEngine, OwnEngine], make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    dying, other = two
    used, clock = settings(tmp_path, **SIDECAR), Clock()
    pool = pool_of(used, nodes_at(two, 1, 0), clock)
    killed = threading.Event()

    class Killing(DockerExecutor):
        def launch(self, plan: AttemptPlan, *, on_event: Any) -> None:
            super().launch(plan, on_event=on_event)
            if not killed.is_set():
                killed.set()
                dying.stop(signal.SIGKILL)

    def context() -> JobContext:
        executor = PlacedExecutor(pool, lambda node: Killing(settings_on(node, used)), wait_s=0)
        return JobContext(settings=used, choose=lambda: executor, catalog=Catalog())

    first = job(make_workspace, f"sleep 1; {PREDICT}")
    result = pipeline.run_then_score(context(), first).result
    assert result.versioning["node"] == "b"
    log = (first / "logs" / "job.jsonl").read_text()
    assert '"CONTAINER_WAIT_FAILED"' in log
    assert left_on(other) == []
    # The lost job and the silence after it have opened its breaker: that it is back is not enough.
    dying.start()
    second = job(make_workspace, PREDICT)
    assert pipeline.run_then_score(context(), second).result.versioning["node"] == "b"
    clock.now += 61  # half-open: one job tries it, and closes it
    for _ in range(2):
        workspace = job(make_workspace, PREDICT)
        assert pipeline.run_then_score(context(), workspace).result.versioning["node"] == "a"
    # What the dead engine kept is over though we live: the next job there has removed it.
    assert left_on(dying) == []


@pytest.mark.fault("a node killed mid-run", is_control=True)
def test_control_with_its_node_up_the_same_job_stays_there(
    lasting: tuple[OwnEngine, OwnEngine], make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    used = settings(tmp_path, **SIDECAR)
    executor = placed(used, pool_of(used, nodes_at(lasting, 1, 0)))
    context = JobContext(settings=used, choose=lambda: executor, catalog=Catalog())
    workspace = job(make_workspace, f"sleep 1; {PREDICT}")
    assert pipeline.run_then_score(context, workspace).result.versioning["node"] == "a"


KILLED = """
import os, signal, sys
from pathlib import Path
from autoscorer.executor.docker_executor import DockerExecutor
from tests.executor.docker.containers import BUSYBOX, container_plan, settings

def hear(name, _facts):
    if name == "execution_started": os.kill(os.getpid(), signal.SIGKILL)

root = Path(sys.argv[1])
used = settings(root, docker_host=sys.argv[2], docker_helper_image=BUSYBOX)
DockerExecutor(used).run(container_plan(root, "exec tail -f /dev/null"), stop=lambda: None, on_event=hear)
"""


def test_what_a_killed_worker_left_is_removed_on_every_node_that_answers(
    two: tuple[OwnEngine, OwnEngine], tmp_path: Path
) -> None:
    for engine in two:
        command = [sys.executable, "-c", KILLED, str(tmp_path), engine.address]
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        subprocess.run(command, env=env, cwd=ROOT, check=False, timeout=60)
        assert len(left_on(engine)) == 3  # the control: program, sidecar and volume stay by themselves
    used = settings(tmp_path, **SIDECAR)
    executor = placed(used, pool_of(used, nodes_at(two, 0, 0)))
    assert executor.reap(lambda _owner: True) == ()
    assert [len(left_on(engine)) for engine in two] == [3, 3]
    down, up = two
    down.stop(signal.SIGKILL)
    with pytest.raises(AutoscorerError) as caught:
        executor.reap(process_is_alive)
    assert list(caught.value.details["nodes"]) == ["a"]
    assert left_on(up) == []
    down.start()
    assert executor.reap(process_is_alive)
    assert eventually(lambda: left_on(down) == [])


def test_a_node_that_must_mount_and_sees_nothing_costs_a_job_no_try(
    two: tuple[OwnEngine, OwnEngine], make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    one, other = nodes_at(two, 1, 0)
    used = settings(tmp_path, **SIDECAR)
    executor = placed(used, pool_of(used, (replace(one, transport="bind"), other)))
    workspace = job(make_workspace, PREDICT)
    context = JobContext(settings=used, choose=lambda: executor, catalog=Catalog())
    assert pipeline.run_then_score(context, workspace).result.versioning["node"] == "b"
    lines = (workspace / "logs" / "job.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert "node_failed" in events
    assert "job_retried" not in events


def test_a_job_whose_image_only_one_node_has_runs_there(
    two: tuple[OwnEngine, OwnEngine], make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    two[1].docker("tag", BUSYBOX, "autoscorer-test/only-here:1")
    used = settings(tmp_path, image_pull_policy="never", **SIDECAR)
    executor = placed(used, pool_of(used, nodes_at(two, 1, 0)))
    context = JobContext(settings=used, choose=lambda: executor, catalog=Catalog())
    spec = {"container": {"image": "autoscorer-test/only-here:1", "cmd": ["sh", "-c", PREDICT]}}
    result = pipeline.run_then_score(context, make_workspace(spec=spec)).result
    assert result.versioning["node"] == "b"
    spec["container"]["image"] = "autoscorer-test/nowhere:1"  # the control: of nobody's image it is told so
    with pytest.raises(AutoscorerError) as caught:
        pipeline.run(context, make_workspace(spec=spec))
    assert (caught.value.code, caught.value.blame) == ("IMAGE_NOT_PRESENT", "participant")


def test_a_job_waits_for_an_engine_that_is_down_and_runs_when_it_is_back(
    two: tuple[OwnEngine, OwnEngine], tmp_path: Path
) -> None:
    (only, _), used = two, settings(tmp_path, **SIDECAR)
    only.stop(signal.SIGKILL)
    pool = pool_of(used, nodes_at((only,), 0))
    events: list[tuple[str, Any]] = []

    def hear(name: str, facts: Any) -> None:
        events.append((name, facts))
        if name == "node_awaited":
            only.start()

    executor = PlacedExecutor(pool, lambda node: DockerExecutor(settings_on(node, used)), wait_s=120)
    outcome = executor.run(container_plan(tmp_path, "true"), stop=lambda: None, on_event=hear)
    assert outcome.details["node"] == "a"
    assert events[0] == ("node_awaited", {"gpus": 0, "nodes": {"a": "no engine answers there"}})


def test_with_nodes_in_the_configuration_the_composition_root_places_jobs(
    lasting: tuple[OwnEngine, OwnEngine], make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    from autoscorer.runtime import job_context

    used = replace(settings(tmp_path, **SIDECAR), nodes=nodes_at(lasting, 0, 2))
    result = pipeline.run_then_score(
        job_context(used, Catalog(), backend="auto"), job(make_workspace, PREDICT)
    ).result
    assert (result.versioning["node"], result.versioning["backend"]) == ("b", "docker")
    assert result.timing["scheduling_seconds"] >= 0


def test_the_doctor_tries_each_node_and_says_what_to_do(
    lasting: tuple[OwnEngine, OwnEngine], tmp_path: Path
) -> None:
    from autoscorer.runtime import diagnose

    one, other = lasting
    lacking = replace(settings(tmp_path, image_pull_policy="never"), docker_helper_image="absent/image:1")
    silent = Node(name="c", host="tcp://127.0.0.1:1")
    found = diagnose("docker", replace(lacking, nodes=(*nodes_at(lasting, 2, 0), silent)))
    assert found.failing == ["node a", "node b", "node c"]
    details = {probe.name: probe.detail for probe in found.probes}
    assert "docker pull absent/image:1" in details["node a"]
    assert "nothing listens" in details["node c"]
    mounting = replace(nodes_at(lasting, 0, 0)[0], transport="bind")
    used = replace(settings(tmp_path, **SIDECAR), nodes=(mounting, nodes_at(lasting, 0, 3)[1]))
    found = diagnose("docker", used)
    details = {probe.name: probe.detail for probe in found.probes}
    assert found.failing == ["node a"]
    assert "share that at the same path" in details["node a"]
    assert f"answers at {other.address}; transport stream; 3 GPUs declared" in details["node b"]
    (file := tmp_path / "file").touch()
    found = diagnose("docker", replace(used, workspace_root=file / "ws"))
    assert found.failing == ["node a", "node b"]
    assert found.probes[0].detail == (
        f"cannot be tried, for no folder can be made in {file / 'ws'} (Not a directory); "
        "set WORKSPACE_ROOT to a folder in which this user may write"
    )
    assert left_on(one) == left_on(other) == []


def test_a_worker_of_the_service_runs_its_jobs_on_nodes(
    lasting: tuple[OwnEngine, OwnEngine], tmp_path: Path
) -> None:
    nodes = [{"name": node.name, "host": node.host, "gpus": node.gpus} for node in nodes_at(lasting, 0, 1)]
    site = make_site(tmp_path / "site", NODES=json.dumps(nodes), DOCKER_HELPER_IMAGE=BUSYBOX)
    store = site.open_store()
    folder = site.workspace(container={"image": BUSYBOX, "cmd": ["sh", "-c", PREDICT]})
    job = site.submit(store, folder, backend="docker")
    worker = service_runtime.make_worker(site.settings, store, Catalog())
    site.drain(store, worker)
    stored = store.jobs.result(job.task_id)
    assert stored is not None
    assert stored.body["versioning"]["node"] == "b"
    assert [left_on(engine) for engine in lasting] == [[], []]
    site.close()
