"""A worker that dies or sleeps at any point: its job is done once, whole, and nothing is left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscorer.store.transitions import JobState
from tests.worker import sabotage
from tests.worker.counts import Counts
from tests.worker.process import Workers, workers
from tests.worker.sites import Site, check_sound, ended, make_site, state_of, until

pytestmark = pytest.mark.slow
# Of the moves of files, a few in `make test`; all of them in `make chaos`.
SOME_MOVES = [f"move {number}" for number in (1, 4, 6, 8)]
ALL_MOVES = [f"move {number}" for number in range(1, sabotage.MOVES)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def crew(site: Site) -> Iterator[Workers]:
    with workers(site) as started:
        yield started


@pytest.fixture(autouse=True)
def counted(request: pytest.FixtureRequest, counts: Counts) -> None:
    """What succeeds here has lost, doubled and left nothing: `check_sound` looks at every job."""
    point = request.node.callspec.params.get("point", "") if hasattr(request.node, "callspec") else ""
    deed = "stopped past its lease, then continued" if "slept" in request.node.name else "killed"
    where = "before each move of a file" if point.startswith("move") else "at each boundary of a stage"
    if "every_move" in request.node.name:
        deed = "killed, and stopped past its lease"
    counts.fault = f"worker {deed}, {where}" if point else "four workers, ten jobs"
    counts.faults, counts.jobs = 1 if point else 4, 1 if point else 10


def killed_at(site: Site, crew: Workers, point: str) -> bool:
    """One job, a worker killed at ``point``, the recovery. Whether it came to that point at all."""
    store, later_store, folder = site.open_store(), site.open_store(ahead_s=40), site.workspace()
    job = site.submit(store, folder)
    died = crew.join(crew.start("w1", at=point, deed="kill")) == -signal.SIGKILL
    if died and state_of(store, job).state is JobState.RUNNING:
        site.drain(store)
        assert not ended(store, job), "control: without the reconciler it would wait for ever"
    site.recover(later_store)
    site.drain(later_store)
    site.recover(later_store)
    check_sound(site, store, job, folder)
    store.close()
    later_store.close()
    return died


def stopped_at(site: Site, crew: Workers, point: str) -> bool:
    """One job, a worker asleep at ``point`` past its lease while another does the job, then awake again."""
    store, later_store, folder = site.open_store(), site.open_store(ahead_s=40), site.workspace()
    job = site.submit(store, folder)
    pid = crew.start("w1", at=point, deed="stop")
    until(lambda: crew.is_stopped_or_over(pid), what="the worker stops")
    slept = pid not in crew.ended
    site.recover(later_store)
    site.drain(later_store)
    if slept:
        os.kill(pid, signal.SIGCONT)
    crew.join(pid)
    site.recover(later_store)
    check_sound(site, store, job, folder)
    store.close()
    later_store.close()
    return slept


@pytest.mark.parametrize("point", [*sabotage.POINTS, *SOME_MOVES])
def test_a_job_whose_worker_is_killed_is_done_once(site: Site, crew: Workers, point: str) -> None:
    assert killed_at(site, crew, point), "control: the worker came to that point"


@pytest.mark.parametrize("point", [*sabotage.POINTS[1:], *SOME_MOVES])
def test_a_job_whose_worker_slept_past_its_lease_is_done_once(site: Site, crew: Workers, point: str) -> None:
    assert stopped_at(site, crew, point), "control: the worker came to that point"


@pytest.mark.long
@pytest.mark.parametrize("point", ALL_MOVES)
def test_every_move_of_a_file_may_be_the_last(site: Site, crew: Workers, point: str) -> None:
    killed_at(site, crew, point)
    stopped_at(site, crew, point)


def test_of_two_workers_that_want_one_job_one_does_it(site: Site, crew: Workers, tmp_path: Path) -> None:
    store = site.open_store()
    jobs = [(folder := site.workspace(), site.submit(store, folder)) for _ in range(10)]
    for pid in [crew.start(f"w{number}") for number in range(4)]:
        assert crew.join(pid) == 0
    for folder, job in jobs:
        check_sound(site, store, job, folder)
        assert state_of(store, job).attempt == 1
        assert len((folder / "starts").read_text().splitlines()) == 1
    store.close()
