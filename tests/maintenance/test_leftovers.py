"""What a dead worker left running: removed at once, or kept for the next attempt where that takes it up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscorer.executor.base import IsAlive, Reaped
from autoscorer.executor.ownership import Owner
from autoscorer.maintenance.leftovers import Leftovers
from autoscorer.store.leases import lease_of
from autoscorer.store.records import Job
from autoscorer.store.sql_store import SqlStore
from autoscorer.traces import Trace, Traces
from tests.worker.sites import Site, make_site
from tests.worker.stub import StubExecutor


class Cluster(StubExecutor):
    """A backend where one thing runs, of ``owner``."""

    def __init__(self, owner: Owner, *, adopts: bool) -> None:
        super().__init__()
        self.adopts = adopts
        self.owner: Owner | None = owner

    def reap(self, is_alive: IsAlive) -> tuple[Reaped, ...]:
        if self.owner is None or is_alive(self.owner):
            return ()
        self.owner = None
        return (Reaped(kind="job", name="n"),)


class Left:
    """A job whose worker lost its lease while its program runs on."""

    def __init__(self, root: Path, *, adopts: bool) -> None:
        self.site: Site = make_site(root)
        self.store: SqlStore = self.site.open_store(ahead_s=40)
        folder = self.site.workspace()
        job = self.site.submit(self.store, folder)
        claimed = self.site.open_store().work.claim(queues=("cpu",), worker="w1")
        assert claimed is not None
        owner = Owner.this_process(str(lease_of(claimed)))
        self.traces = Traces(self.site.settings.data_dir)
        self.traces.write(Trace(task_id=job.task_id, attempt=1, owner=owner, workspace=folder))
        self.job: Job = job
        self.cluster = Cluster(owner, adopts=adopts)
        self.leftovers = Leftovers(self.store, self.site.settings.data_dir, lambda: [self.cluster])
        self.store.work.lapse(job.task_id)

    @property
    def is_running(self) -> bool:
        return self.cluster.owner is not None


@pytest.fixture
def left(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Left]:
    made = Left(tmp_path, adopts=request.param)
    yield made
    made.site.close()


@pytest.mark.parametrize("left", [True], indirect=True)
def test_what_the_next_attempt_takes_up_is_kept_until_the_job_has_ended(left: Left) -> None:
    left.leftovers.remove()
    assert left.is_running
    assert list(left.traces.all()), "and it is not forgotten"
    left.store.jobs.cancel(left.job.task_id, by="ada")
    left.leftovers.remove()
    assert not left.is_running
    assert not list(left.traces.all())


@pytest.mark.parametrize("left", [False], indirect=True)
def test_control_where_nobody_takes_it_up_it_is_removed_at_once(left: Left) -> None:
    left.leftovers.remove()
    assert not left.is_running
    assert not list(left.traces.all())
