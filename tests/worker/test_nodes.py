"""A worker's jobs on several nodes, one of which is silent: whose failure it is, and if it goes again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscorer.executor.base import AttemptPlan, OnEvent, StopSignal
from autoscorer.executor.nodes.placed import PlacedExecutor
from autoscorer.executor.nodes.pool import NodePool
from autoscorer.executor.nodes.ranking import Running
from autoscorer.scorers.catalog import Catalog
from autoscorer.store.records import Job
from autoscorer.store.transitions import JobState
from autoscorer.utils.config import Node
from autoscorer.utils.errors import AutoscorerError
from autoscorer.worker import Worker
from tests.worker.sites import Site, make_site, state_of
from tests.worker.stub import StubExecutor, starts


class NoImage(StubExecutor):
    """On a node to which the registry does not give the image, by that cause."""

    def __init__(self, cause: str) -> None:
        self.cause = cause

    def prepare(self, plan: AttemptPlan, *, stop: StopSignal, on_event: OnEvent) -> None:
        super().prepare(plan, stop=stop, on_event=on_event)
        raise AutoscorerError("IMAGE_PULL_FAILED", "as the registry says", cause=self.cause)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = make_site(tmp_path / "site")
    yield made
    made.close()


def worked(site: Site, workspace: Path, *, cause: str, silent: bool, wait_s: float) -> tuple[Job, bool]:
    """A job after one try, with nodes ``a``, where the image cannot be had, and ``b``; whether it waited."""
    pool = NodePool(
        [Node(name=name, host=f"tcp://{name}:1") for name in "ab"],
        load=lambda _node: Running(),
        health=lambda node: "no engine answers there" if silent and node.name == "b" else None,
    )
    make = lambda node: NoImage(cause) if node.name == "a" else StubExecutor()  # noqa: E731
    executor = PlacedExecutor(pool, make, wait_s=wait_s, look_again_s=0.01)
    store = site.open_store()
    site.submit(store, workspace)
    job = store.work.claim(queues=("cpu",), worker="w1")
    assert job is not None
    Worker(site.settings, store, Catalog(), "w1", make_executor=lambda *_given: executor).work(job)
    stages = [event.facts.get("stage") for event in store.jobs.events(job.task_id)]
    return state_of(store, job), "wait_for_node" in stages


def test_a_refused_image_is_the_participants_fault_at_once_while_a_node_is_silent(site: Site) -> None:
    workspace = site.workspace()
    job, waited = worked(site, workspace, cause="denied", silent=True, wait_s=60)
    assert (job.state, job.attempt, waited) == (JobState.FAILED, 1, False)
    assert job.error is not None
    assert (job.error["code"], job.error["details"]["blame"]) == ("IMAGE_PULL_FAILED", "participant")
    assert len(starts(workspace)) == 1


def test_control_an_image_that_another_node_has_runs_there(site: Site) -> None:
    job, _ = worked(site, site.workspace(), cause="denied", silent=False, wait_s=60)
    assert job.state is JobState.SUCCEEDED


def test_control_a_registry_that_does_not_answer_is_waited_for_and_tried_again(site: Site) -> None:
    job, waited = worked(site, site.workspace(), cause="network", silent=True, wait_s=0.02)
    assert (job.state, job.attempt, waited) == (JobState.QUEUED, 1, True)
