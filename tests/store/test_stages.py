"""Stages are heard of soon when they last, and with the end when they do not; each once, in order."""

from __future__ import annotations

import pytest

from autoscorer.store.records import Job, JsonObject, Lease
from autoscorer.store.stages import Stages
from autoscorer.utils.errors import AutoscorerError
from tests.store.claimed import Claimed


class UnderWay(Claimed):
    """A claimed job and its stages, on one clock."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = Stages(self.store.work, self.lease, elapsed=lambda: self.clock.elapsed_s)

    @property
    def job(self) -> Job:
        found = self.store.jobs.get(self.lease.task_id)
        assert found is not None
        return found

    def told(self) -> list[str]:
        events = self.store.jobs.events(self.lease.task_id)
        return [event.facts["stage"] for event in events if event.name == "stage_started"]

    def end(self) -> None:
        self.store.work.succeed(self.lease, result={}, notes=self.stages.untold())


@pytest.fixture
def under_way() -> UnderWay:
    return UnderWay()


def test_a_stage_that_lasts_is_the_jobs(under_way: UnderWay) -> None:
    under_way.stages.begin("prepare")
    under_way.stages.begin("execute")
    assert under_way.job.stage is None
    under_way.stages.tell()
    under_way.stages.tell()
    assert under_way.job.stage == "execute"
    assert under_way.told() == ["prepare", "execute"]


def test_a_stage_that_does_not_last_comes_with_the_end_at_its_time(under_way: UnderWay) -> None:
    under_way.stages.begin("view")
    began_at = under_way.clock().at
    under_way.stages.tell()
    under_way.clock.forward(1)
    under_way.stages.begin("score")
    under_way.clock.forward(2)
    under_way.end()
    under_way.stages.tell()  # the keeper's thread comes too late
    assert under_way.told() == ["view", "score"]
    scored_at = under_way.store.jobs.events(under_way.lease.task_id)[-2].at
    assert (scored_at - began_at).total_seconds() == 1.0


def test_a_stage_that_is_told_late_is_told_with_its_time(under_way: UnderWay) -> None:
    under_way.stages.begin("prepare")
    began_at = under_way.clock().at
    under_way.clock.forward(3)
    under_way.stages.tell()
    assert under_way.store.jobs.events(under_way.lease.task_id)[-1].at == began_at


def test_stages_are_told_later_when_the_store_does_not_answer(under_way: UnderWay) -> None:
    note = under_way.store.work.note

    def refuse(
        _lease: Lease, *, event: str, facts: JsonObject, stage: str | None = None, ago_s: float = 0.0
    ) -> Job:
        raise AutoscorerError("STORE_UNAVAILABLE", f"{event} {facts} {stage} {ago_s}")

    under_way.store.work.note = refuse  # type: ignore[method-assign, assignment]
    under_way.stages.begin("prepare")
    under_way.stages.tell()
    under_way.store.work.note = note  # type: ignore[method-assign]
    under_way.stages.begin("execute")
    under_way.stages.tell()
    assert under_way.told() == ["prepare", "execute"]


def test_a_holder_that_lost_its_lease_tells_nothing_more(under_way: UnderWay) -> None:
    under_way.clock.forward(30)
    under_way.store.work.lapse(under_way.lease.task_id)
    under_way.stages.begin("execute")
    under_way.stages.tell()
    assert under_way.told() == []
