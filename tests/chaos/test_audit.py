"""Controls of what is counted: harm done by hand to a sound service is seen, and called by its name."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autoscorer.store.records import Job
from tests.chaos.audit import audit, left_behind, processes_of
from tests.chaos.stack import Stack
from tests.chaos.work import CANCELLED, Kind, Task
from tests.worker.counts import Counts
from tests.worker.sites import Site, make_site, result_json

pytestmark = pytest.mark.slow  # a service each

SCORED = Kind(score=1.0)
BAD = ("lost", "doubled", "intruders", "wrong_blame")


@dataclass
class Done:
    """A job that ended well, to be tampered with."""

    site: Site
    folder: Path
    job: Job

    def change(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.site.root / "jobs.db")) as connection:
            assert connection.execute(statement, values).rowcount > 0
            connection.commit()

    def found(self, kind: Kind = SCORED) -> dict[str, int]:
        """What is counted of it, where it is not 0."""
        stack = cast("Stack", SimpleNamespace(site=self.site, store=self.site.open_store(), engine=None))
        task = Task(kind=kind, backend="stub", folder=self.folder, key="")
        counts = Counts()
        audit(stack, {self.job.task_id: task}, counts)
        counts.orphans = len(left_behind(stack))
        return {name: getattr(counts, name) for name in (*BAD, "orphans") if getattr(counts, name)}


@pytest.fixture
def done(tmp_path: Path) -> Iterator[Done]:
    site = make_site(tmp_path / "site")
    store, folder = site.open_store(), site.workspace()
    job = site.submit(store, folder)
    site.drain(store)
    yield Done(site, folder, job)
    site.close()


def lose_the_file(done: Done) -> None:
    (done.folder / "output" / "result.json").write_text(json.dumps({"summary": {"f1_macro": 1.0}}))


def lose_the_score(done: Done) -> None:
    done.change("UPDATE jobs SET state = 'queued'")


def end_it_twice(done: Done) -> None:
    done.change("UPDATE events SET name = 'job_succeeded' WHERE name = 'job_claimed'")


def forget_an_event(done: Done) -> None:
    done.change("DELETE FROM events WHERE number = 2")


def let_another_publish(done: Done) -> None:
    done.change("UPDATE results SET attempt = 7")


def blame_the_participant(done: Done) -> None:
    error = {"code": "CONTAINER_EXIT_NONZERO", "details": {"blame": "participant"}}
    done.change("UPDATE attempts SET error = ?", json.dumps(error))


def leave_an_attempt(done: Done) -> None:
    (done.folder / ".attempts" / "9" / "out").mkdir(parents=True)


@pytest.mark.parametrize(
    ("harm", "seen"),
    [
        (lose_the_file, {"lost"}),
        (lose_the_score, {"lost", "doubled"}),
        (end_it_twice, {"doubled"}),
        (forget_an_event, {"doubled"}),
        (let_another_publish, {"intruders"}),
        (blame_the_participant, {"wrong_blame"}),
        (leave_an_attempt, {"orphans"}),
    ],
)
@pytest.mark.fault("the counting itself: harm done by hand", is_control=True)
def test_harm_that_is_done_by_hand_is_seen(done: Done, harm: Callable[[Done], None], seen: set[str]) -> None:
    assert done.found() == {}, "control: it was sound"
    harm(done)
    assert set(done.found()) == seen


def test_what_a_job_wrote_before_it_was_retried_may_stay_only_if_it_is_cancelled_in_the_queue(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path / "site")
    folder = site.workspace("lost")
    job = site.submit(site.open_store(), folder)
    for attempt in (1, 2, 3):
        site.drain(site.open_store(ahead_s=100.0 * attempt))
    assert result_json(folder)["error"]["code"] == "ATTEMPTS_EXHAUSTED"
    dropped = Done(site, folder, job)
    store = site.open_store()
    store.jobs.retry(job.task_id, by="ada")
    store.jobs.cancel(job.task_id, by="ada")
    assert dropped.found(CANCELLED) == {}
    (folder / "output" / "result.json").write_text(json.dumps({"error": {"code": "EXEC_ERROR"}}))
    assert dropped.found(CANCELLED) == {"lost": 1}, "control: what it never ended with"
    (folder / "output" / "result.json").write_text(json.dumps({"error": {"code": "ATTEMPTS_EXHAUSTED"}}))
    dropped.change("UPDATE events SET name = 'job_cancel_asked' WHERE name = 'job_cancelled'")
    assert dropped.found(CANCELLED)["lost"] == 1, "control: cancelled while it ran, its worker says so there"
    site.close()


def test_a_process_that_was_told_of_the_folder_is_seen(tmp_path: Path) -> None:
    import subprocess

    assert processes_of(tmp_path) == []
    given: dict[str, Any] = {"env": {"WORKSPACE_ROOT": str(tmp_path)}}
    with subprocess.Popen(["/bin/sleep", "60"], **given) as process:
        assert [found.split()[1] for found in processes_of(tmp_path)] == [f"{process.pid}:"]
        process.kill()
