"""Who has lost the right to a task leaves the Job to whoever has it now: against a scripted API server."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoscorer.claims import FencedError
from autoscorer.executor.base import AttemptPlan, RunOutcome, StopReason
from autoscorer.executor.k8s import watch as watching
from autoscorer.executor.k8s.naming import ANNOTATION_OWNER, job_name
from autoscorer.executor.k8s.waiting import Vigil
from autoscorer.executor.k8s.watch import PodWatch
from autoscorer.executor.k8s_executor import K8sExecutor
from autoscorer.executor.ownership import Owner
from autoscorer.utils.errors import AutoscorerError
from tests.executor.k8s.pods import pod_plan, settings
from tests.executor.k8s.scripted import Answer, Script, a_pod, pods, served

pytestmark = pytest.mark.slow  # a server each

NAMESPACE = "/namespaces/jobs"
PODS, JOBS = f"/api/v1{NAMESPACE}/pods", f"/apis/batch/v1{NAMESPACE}/jobs"
POLICIES = f"/apis/networking.k8s.io/v1{NAMESPACE}/networkpolicies"
OK: Answer = (200, {}, {})
CHANGED: Answer = (409, {"reason": "Conflict"}, {})
MINE, ANOTHERS = "task-1/1/worker-a", "task-1/2/worker-b"
SIDECAR = {"name": "sidecar", "state": {"running": {}}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PAUSE_S", 0.01)
    monkeypatch.setattr(watching, "POLL_S", 0.05)


def main_container(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "main", "state": state}, SIDECAR], "phase": "Running"}


EXITED = main_container(terminated={"exitCode": 0})
RUNNING = main_container(running={})


class Fenced:
    """An attempt whose program has ended, and whose worker hears by then that it may not take the output."""

    def __init__(self, root: Path) -> None:
        self.plan: AttemptPlan = replace(pod_plan(root, "true"), lease=MINE)
        self.name = job_name(self.plan)
        self.job = f"{JOBS}/{self.name}"
        self.script = Script(
            lists=deque([pods(a_pod(**EXITED))]),
            watches=deque([([], "hang")]),
            others={
                ("POST", POLICIES): deque([OK]),
                ("GET", JOBS): deque([(200, {"items": []}, {})]),
                ("POST", JOBS): deque([(201, {}, {})]),
                ("GET", f"{PODS}/pod-u1/log"): deque([OK]),
                ("GET", self.job): deque([self.held_under(MINE)]),
                ("DELETE", self.job): deque([OK]),
                ("DELETE", f"{PODS}/pod-u1"): deque([OK]),
            },
        )

    def held_under(self, lease: str, *, version: int = 7) -> Answer:
        """The Job as the cluster has it."""
        metadata = {
            "name": self.name,
            "uid": "j1",
            "resourceVersion": str(version),
            "annotations": {ANNOTATION_OWNER: str(Owner.this_process(lease))},
        }
        return 200, {"metadata": metadata}, {}

    def run(self, *, hears: StopReason | None = None) -> list[str]:
        """What was deleted. It ``hears`` why it should have stopped once its program has ended."""
        reasons: list[StopReason | None] = [None]

        def fenced(_folder: Path, _outcome: RunOutcome) -> None:
            reasons.append(hears)
            raise FencedError("the lease of task-1 is lost")

        with served(self.script) as cluster:
            used = settings(
                self.plan.spec_path.parent,
                k8s_kubeconfig=None,
                k8s_api=cluster._api.configuration.host,
                k8s_token="none",
                k8s_namespace="jobs",
            )
            with pytest.raises((FencedError, AutoscorerError)):
                K8sExecutor(used).run(
                    self.plan, stop=lambda: reasons[-1], on_event=lambda *_: None, collect=fenced
                )
        return [path for method, path in self.script.asked if method == "DELETE"]


@pytest.fixture
def fenced(tmp_path: Path) -> Fenced:
    return Fenced(tmp_path)


def test_a_job_that_another_has_taken_over_stays(fenced: Fenced) -> None:
    fenced.script.others["GET", fenced.job] = deque([fenced.held_under(ANOTHERS)])
    assert fenced.run() == []


def test_control_a_job_that_nobody_has_taken_over_goes_with_its_pod_as_it_was_seen(fenced: Fenced) -> None:
    assert fenced.run() == [fenced.job, f"{PODS}/pod-u1"]
    assert fenced.script.deletions[0]["preconditions"] == {"uid": "j1", "resourceVersion": "7"}


def test_a_job_that_is_taken_over_between_look_and_removal_stays(fenced: Fenced) -> None:
    fenced.script.others["GET", fenced.job] = deque(
        [fenced.held_under(MINE), fenced.held_under(ANOTHERS, version=8)]
    )
    fenced.script.others["DELETE", fenced.job] = deque([CHANGED])
    assert fenced.run() == [fenced.job], "refused by the cluster"


def test_control_a_job_that_its_controller_changed_meanwhile_is_looked_at_again(fenced: Fenced) -> None:
    fenced.script.others["GET", fenced.job] = deque(
        [fenced.held_under(MINE), fenced.held_under(MINE, version=8)]
    )
    fenced.script.others["DELETE", fenced.job] = deque([CHANGED, OK])
    assert fenced.run() == [fenced.job, fenced.job, f"{PODS}/pod-u1"]
    assert fenced.script.deletions[1]["preconditions"] == {"uid": "j1", "resourceVersion": "8"}


@pytest.mark.parametrize("reason", [StopReason.LEASE_LOST, StopReason.WORKER_STOPPED])
def test_only_who_has_lost_the_lease_leaves_what_has_ended_to_the_next(
    fenced: Fenced, reason: StopReason
) -> None:
    assert fenced.run(hears=reason) == (
        [] if reason is StopReason.LEASE_LOST else [fenced.job, f"{PODS}/pod-u1"]
    )


def test_a_job_that_a_living_process_runs_is_refused_and_stays(fenced: Fenced) -> None:
    fenced.script.others["POST", JOBS] = deque([(409, {"reason": "AlreadyExists"}, {})])
    fenced.script.others["GET", fenced.job] = deque([fenced.held_under("task-2/1/worker-b")])
    assert fenced.run() == []


@pytest.mark.parametrize(("job", "is_removed"), [("j2", False), ("j1", True)], ids=["a later", "the same"])
def test_a_pod_of_a_later_job_of_that_name_is_anothers(job: str, is_removed: bool) -> None:
    def of_job(pod: dict[str, Any], uid: str) -> dict[str, Any]:
        owners = [{"kind": "Job", "uid": uid, "controller": True}]
        return {**pod, "metadata": {**pod["metadata"], "ownerReferences": owners}}

    mine, other = of_job(a_pod(**RUNNING), "j1"), of_job(a_pod("u2", version=7, **RUNNING), job)
    script = Script(
        lists=deque([pods(mine), pods(mine, other)]),
        watches=deque([([], "hang")]),
        others={("DELETE", f"{PODS}/pod-u2"): deque([OK])},
    )
    with served(script) as cluster:
        watch = PodWatch(cluster, "n")
        vigil = Vigil(cluster, watch, name="n", start_timeout_s=30, time_limit_s=60, is_staged=True)
        seen = iter(range(1000))
        until = [lambda: StopReason.CANCELLED if len(watch.pods) == 2 and next(seen) > 1 else None]
        assert vigil.until_ended(until).stopped is StopReason.CANCELLED
        script.over.set()
        watch.close()
    assert (("DELETE", f"{PODS}/pod-u2") in script.asked) == is_removed
