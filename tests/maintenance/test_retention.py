"""What is old and needed by nobody goes; everything else stays, whatever stands in the way."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from autoscorer.claims import claim
from autoscorer.maintenance.retention import duty as duty_module
from autoscorer.maintenance.retention import folders
from autoscorer.maintenance.retention.duty import Removed, retain, retention_duty
from autoscorer.maintenance.retention.folders import mount_points
from autoscorer.maintenance.retention.outputs import remove_former_outputs
from autoscorer.maintenance.retention.submissions import Submissions
from autoscorer.store.leases import lease_of
from autoscorer.store.memory_store import MemoryStore
from autoscorer.store.records import Job, JobQuery
from autoscorer.workspace import Workspace
from tests.contracts.store_cases import EXIT_3, SCORE, new_job
from tests.store.clocks import MovableClock
from tests.worker.sites import Site, make_site

DAY_S = 86400.0


class Place:
    """A WORKSPACE_ROOT and a store whose clock can be moved on from now: files know only real time."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.clock = MovableClock()
        self.clock.elapsed_s += (datetime.now(UTC) - self.clock().at).total_seconds()
        self.store = MemoryStore(clock=self.clock)
        self.acme = self.store.access.add_organisation("default").organisation_id
        given = {"RETENTION_DAYS": "30", "FAILED_RETENTION_DAYS": "60"}
        self.site: Site = make_site(folder, **{**given, **environ})
        self.root = folder / "workspaces"
        self._jobs = 0

    def days_later(self, days: float) -> None:
        self.clock.forward(days * DAY_S)

    def retain(self) -> Removed:
        return retain(self.site.settings, self.store)

    def submission(self, home: str = "", subject: str = "ada") -> Path:
        folder = self.root / home / "submissions" / subject / str(uuid4())
        (folder / "input").mkdir(parents=True)
        (folder / "meta.json").write_text("{}")
        return folder

    def job(self, workspace: Path, ending: str = "succeed", **fields: object) -> Job:
        self._jobs += 1
        name = str(workspace.relative_to(self.root))
        job = self.store.jobs.submit(new_job(self.acme, self._jobs, workspace=name, **fields)).job
        if ending != "wait":
            claimed = self.store.work.claim(queues=["cpu"], worker="w")
            assert claimed is not None
            if ending == "succeed":
                self.store.work.succeed(lease_of(claimed), result=SCORE)
            else:
                self.store.work.fail(lease_of(claimed), error=EXIT_3)
        return job

    def former_output(self, workspace: Path, number: int = 1) -> Path:
        folder = workspace / ".attempts" / str(number) / "previous_output"
        folder.mkdir(parents=True)
        (folder / "pred.csv").write_text("id,label\n")
        return folder


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.site.close()


def test_jobs_are_kept_as_long_as_is_configured_and_failed_ones_by_their_own_days(place: Place) -> None:
    good, bad = (place.job(place.root / name, how) for name, how in (("a", "succeed"), ("b", "fail")))
    waiting = place.job(place.root / "c", "wait")

    def kept() -> set[str]:
        return {job.task_id for job in place.store.jobs.page(JobQuery()).jobs}

    place.days_later(29)
    assert place.retain().jobs == 0
    place.days_later(2)
    assert place.retain().jobs == 1
    assert kept() == {bad.task_id, waiting.task_id}
    place.days_later(30)
    assert place.retain().jobs == 1
    assert kept() == {waiting.task_id}
    assert good.task_id not in kept()
    assert place.retain() == Removed(jobs=0, submissions=0, former_outputs=0), "again: nothing to do"


def test_many_jobs_are_removed_in_batches(place: Place) -> None:
    for number in range(250):
        place.job(place.root / str(number), "fail")
    place.days_later(61)
    assert place.retain().jobs == 250


def test_nought_days_keep_everything_for_ever(tmp_path: Path) -> None:
    place = Place(tmp_path, RETENTION_DAYS="0", FAILED_RETENTION_DAYS="0")
    folder = place.submission()
    place.former_output(folder)
    place.job(folder)
    place.days_later(36500)
    assert place.retain() == Removed(jobs=0, submissions=0, former_outputs=0)
    assert (folder / ".attempts/1/previous_output/pred.csv").exists()


def test_a_submission_goes_when_it_is_old_and_no_job_names_it(place: Place) -> None:
    place.store.access.add_organisation("other")
    never_used, used, others = place.submission(), place.submission(), place.submission("organisations/other")
    failed = place.submission()
    place.job(used)
    place.job(failed, "fail")
    own = place.root / "examples" / "mine"
    own.mkdir(parents=True)
    place.days_later(29)
    assert place.retain().submissions == 0
    place.days_later(2)
    assert place.retain().submissions == 3
    assert [path for path in (never_used, used, others) if path.exists()] == []
    assert failed.exists(), "its job is kept longer"
    place.days_later(30)
    assert place.retain().submissions == 1
    assert own.exists()
    assert list((place.root / "submissions" / "ada").iterdir()) == []


def test_a_submission_that_waits_is_kept_however_old_it_is(place: Place) -> None:
    folder = place.submission()
    place.job(folder, "wait")
    place.days_later(1000)
    assert place.retain().submissions == 0
    assert (folder / "meta.json").exists()


def test_only_folders_that_we_name_are_touched(place: Place) -> None:
    subject = place.submission().parent
    (subject / "notes").mkdir()
    (subject / str(uuid4())).write_text("a file")
    deeper = place.root / "examples" / "submissions" / "ada" / str(uuid4())
    deeper.mkdir(parents=True)
    place.days_later(31)
    assert place.retain().submissions == 1
    assert len(list(subject.iterdir())) == 2
    assert deeper.exists()


def test_nothing_is_removed_through_a_link(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    victims = [outside / str(uuid4()), outside / "evil" / "submissions" / "ada" / str(uuid4())]
    for victim in victims:
        victim.mkdir(parents=True)
    (place.submission().parent / str(uuid4())).symlink_to(victims[0])
    (place.root / "submissions" / "linked").symlink_to(outside)
    (place.root / "organisations").symlink_to(outside)
    place.store.access.add_organisation("evil")
    place.days_later(31)
    assert place.retain().submissions == 1
    assert all(victim.exists() for victim in victims)
    monkeypatch.setattr(folders, "_FLAGS", os.O_RDONLY | os.O_DIRECTORY)
    place.retain()
    assert not victims[1].exists(), "control: whoever follows links removes what lies elsewhere"


def test_links_in_a_submission_are_removed_and_not_followed(place: Place, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    folder = place.submission()
    (folder / "output").symlink_to(tmp_path / "precious")
    place.days_later(31)
    assert place.retain().submissions == 1
    assert (tmp_path / "precious" / "file").exists()


def test_a_submission_in_which_something_is_mounted_is_left_alone(place: Place) -> None:
    folder = place.submission()
    where = folder.resolve() / ".attempts" / "1" / "out"
    now = place.clock().at + timedelta(days=31)
    name = str(folder.relative_to(place.root))
    mounted = Submissions(place.root, place.store, mounted=lambda: frozenset({where}))
    assert mounted.remove_unneeded(now=now, keep_days=30) == []
    assert folder.exists()
    free = Submissions(place.root, place.store, mounted=frozenset)
    assert free.remove_unneeded(now=now, keep_days=30) == [name]


def test_mount_points_are_read_as_the_kernel_writes_them() -> None:
    text = "36 35 98:0 / /a\\040b\\134c rw,noatime - ext4 /dev/root rw\n37 35 0:5 / /proc rw - proc proc rw\n"
    assert mount_points(text) == {Path("/a b\\c"), Path("/proc")}
    assert Path("/proc") in mount_points()


def test_a_job_that_is_submitted_while_its_workspace_goes_gets_it_back(place: Place) -> None:
    folder = place.submission()
    name = str(folder.relative_to(place.root))
    place.days_later(31)

    class Late(Submissions):
        asked = 0

        def _is_named(self, workspace: str) -> bool:
            self.asked += 1
            if self.asked == 2:
                place.job(folder, "wait")
            return super()._is_named(workspace)

    late = Late(place.root, place.store)
    assert late.remove_unneeded(now=place.clock().at, keep_days=30) == []
    assert late.asked == 2
    assert (place.root / name / "meta.json").exists()


def test_what_a_process_was_killed_over_is_finished_or_put_back(place: Place) -> None:
    unneeded, needed = place.submission(), place.submission()
    place.job(needed, "wait")
    for folder in (unneeded, needed):
        folder.rename(folder.with_name(f".removing-{folder.name}"))
    unfinished = place.submission()
    unfinished.rename(unfinished.with_name(f".{unfinished.name}"))
    place.days_later(31)
    place.retain()
    assert needed.exists()
    assert [path.name for path in needed.parent.iterdir()] == [needed.name]


def test_two_processes_at_once_remove_each_thing_once(place: Place) -> None:
    for _ in range(30):
        folder = place.submission()
        for number in range(20):
            (folder / "input" / f"{number}.csv").write_text("x")
        place.job(folder, "fail")
    place.days_later(61)
    removed: list[Removed] = []
    gate = threading.Barrier(4)

    def run() -> None:
        gate.wait(30)
        removed.append(place.retain())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(removed) == 4, "none of them failed"
    place.retain()
    assert list((place.root / "submissions" / "ada").iterdir()) == []
    assert sum(one.jobs for one in removed) == 30


def test_former_outputs_go_when_they_are_old_and_nothing_else_of_a_workspace(place: Place) -> None:
    own = place.site.workspace(below=place.root / "examples")
    first = place.former_output(own, 1)
    kept = place.former_output(own, 2).parent
    (kept / "out").mkdir()
    before = {str(path.relative_to(own)) for path in own.rglob("*") if ".attempts" not in path.parts}
    place.days_later(29)
    assert place.retain().former_outputs == 0
    place.days_later(2)
    assert place.retain().former_outputs == 2
    assert not first.parent.exists()
    assert [path.name for path in kept.iterdir()] == ["out"]
    after = {str(path.relative_to(own)) for path in own.rglob("*") if ".attempts" not in path.parts}
    assert after - {".autoscorer.lock"} == before


def test_a_workspace_that_somebody_works_on_is_left_for_the_next_time(place: Place) -> None:
    own = place.site.workspace()
    former = place.former_output(own)
    later = place.clock().at + timedelta(days=31)
    with claim(Workspace.open(own)):
        assert remove_former_outputs(place.root, now=later, keep_days=30) == []
        assert former.exists()
    assert remove_former_outputs(place.root, now=later, keep_days=30) == [former.resolve()]


def test_former_outputs_are_not_looked_for_behind_links_or_in_hidden_folders(
    place: Place, tmp_path: Path
) -> None:
    elsewhere = place.site.workspace(below=tmp_path / "elsewhere")
    hidden = place.site.workspace(below=place.root / ".hidden")
    linked = place.site.workspace()
    kept = [place.former_output(elsewhere), place.former_output(hidden)]
    (place.root / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "attempts" / "1" / "previous_output").mkdir(parents=True)
    (linked / ".attempts").symlink_to(tmp_path / "attempts")
    place.days_later(31)
    assert place.retain().former_outputs == 0
    assert all(path.exists() for path in (*kept, tmp_path / "attempts" / "1" / "previous_output"))


def test_a_folder_that_cannot_be_read_stops_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    locked, good = place.submission(subject="locked"), place.submission()
    place.days_later(31)
    opened = os.open

    def refused(path: Any, *given: Any, **named: Any) -> int:
        """Root can read everything: the refusal is ours."""
        if os.fspath(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "refused", path)
        return opened(path, *given, **named)

    monkeypatch.setattr(os, "open", refused)
    assert place.retain().submissions == 1
    assert (good.exists(), locked.exists()) == (False, True)
    monkeypatch.undo()
    assert place.retain().submissions == 1, "control: it is the refusal that keeps it"


def test_it_is_a_duty_of_one_process(place: Place) -> None:
    duty = retention_duty(place.site.settings, place.store)
    assert (duty.name, duty.every_s) == ("retention", duty_module.EVERY_S)
    place.submission()
    place.days_later(31)
    duty.work()
    assert list((place.root / "submissions" / "ada").iterdir()) == []
