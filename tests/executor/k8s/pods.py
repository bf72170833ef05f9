"""Attempts in pods for tests: a plan, a run on the test cluster, proof that nothing is left."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from autoscorer.executor.base import AttemptPlan, RunOutcome, StopReason
from autoscorer.executor.failures import verdict
from autoscorer.executor.k8s.client import Cluster, connect
from autoscorer.executor.k8s.jobs import BATCH
from autoscorer.executor.k8s.naming import MANAGED_BY, OURS, job_name
from autoscorer.executor.k8s_executor import K8sExecutor
from autoscorer.harvest import HarvestPolicy
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.config import Config, Settings
from autoscorer.utils.errors import AutoscorerError
from tests.executor.attempts import eventually, make_plan

BUSYBOX, PYTHON = "autoscorer-test/busybox:1", "autoscorer-test/python:3"
SMALL = {"cpu_cores": 0.1, "memory_bytes": 64 * 2**20}


def variables() -> dict[str, str]:
    """The operator's configuration for the test cluster."""
    return {
        "K8S_KUBECONFIG": os.environ.get("AUTOSCORER_TEST_KUBECONFIG", "/nowhere"),
        "K8S_HELPER_IMAGE": BUSYBOX,
        "IMAGE_PULL_POLICY": "never",
    }


def needs_this_machine_as_node() -> None:
    """Skip on a cluster whose nodes do not see our files: another than that of scripts/k8s-cluster."""
    if "autoscorer-k8s" not in os.environ["AUTOSCORER_TEST_KUBECONFIG"]:
        pytest.skip("the nodes of this cluster do not see this machine's files")


def settings(root: Path, **changes: Any) -> Settings:
    """Settings that look at nothing outside ``root`` but the cluster."""
    made = Config(root / "no.yaml", environ=variables()).settings
    return replace(made, data_dir=root / "data", **changes)


@contextmanager
def namespace_of_its_own() -> Iterator[str]:
    """For what asks of every Job in a namespace whose it is: a service's maintenance."""
    name = f"autoscorer-test-{uuid.uuid4().hex[:12]}"
    with connect(Config(Path("/nowhere"), environ=variables()).settings) as cluster:
        cluster.call("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
        try:
            accounts = f"/api/v1/namespaces/{name}/serviceaccounts"
            assert eventually(lambda: cluster.call("GET", accounts)["items"])
            yield name
        finally:
            cluster.call("DELETE", f"/api/v1/namespaces/{name}")


def pod_plan(
    root: Path, script: str, *, image: str = BUSYBOX, env: Mapping[str, str] | None = None, **changes: Any
) -> AttemptPlan:
    """An attempt that runs ``script`` in busybox's shell."""
    network = changes.pop("network", "none")
    plan = make_plan(root, ("sh", "-c", script), env=env, **SMALL | changes)
    return replace(plan, image=image, network=network)


@dataclass
class RanInPod:
    """One attempt that is over; ``output`` is what was harvested of it."""

    plan: AttemptPlan
    outcome: RunOutcome
    error: AutoscorerError | None
    output: Path
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    @property
    def code(self) -> str | None:
        return self.error.code if self.error else None

    @property
    def log(self) -> bytes:
        return (self.plan.logs_dir / "container.log").read_bytes()


def run_pod(
    plan: AttemptPlan,
    *,
    stop: Callable[[], StopReason | None] = lambda: None,
    on_event: Callable[[str, Mapping[str, Any]], None] = lambda *_: None,
    **changes: Any,
) -> RanInPod:
    """Run it to its end and harvest it; fail if it leaves a Job, a pod or a descriptor."""
    root = plan.spec_path.parent
    target = root / "harvested"
    remove_tree(target)
    used = settings(root, **changes)
    executor, events = K8sExecutor(used), []
    fds = os.listdir("/proc/self/fd")
    failure: AutoscorerError | None = None

    def collect(_folder: Path, outcome: RunOutcome) -> None:
        nonlocal failure
        failure = verdict(outcome, plan.limits)
        if failure is None:
            policy = HarvestPolicy(max_bytes=plan.limits.output_bytes)
            try:
                executor.take_output(plan, target, policy)
            except AutoscorerError as exc:
                failure = exc

    def hear(name: str, facts: Mapping[str, Any]) -> None:
        events.append((name, facts))
        on_event(name, facts)

    try:
        outcome = executor.run(plan, stop=stop, on_event=hear, collect=collect)
    finally:
        assert_nothing_left(used, job_name(plan))
        assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= len(fds))
    return RanInPod(plan, outcome, failure, target, events)


def assert_nothing_left(used: Settings, name: str = "") -> None:
    """Nothing of the attempt called ``name``, or of any attempt, is in the namespace."""
    with connect(used) as cluster:
        assert eventually(lambda: left(cluster, name) == [])


def left(cluster: Cluster, name: str = "") -> list[str]:
    query = {"labelSelector": f"{MANAGED_BY}={OURS}" + (f",autoscorer.io/attempt={name}" if name else "")}
    paths = (cluster.path("jobs", group=BATCH), cluster.path("pods"), cluster.path("persistentvolumeclaims"))
    return [
        row["metadata"]["name"] for path in paths for row in cluster.call("GET", path, query=query)["items"]
    ]
