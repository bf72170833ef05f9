"""A job is scored by the scorer's content it was submitted with, however often that is replaced meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest

from autoscorer import runtime
from autoscorer.access.first import first_organisation
from autoscorer.access.principal import Principal
from autoscorer.api.service import Service, make_service
from autoscorer.maintenance.retention.scorers import remove_unneeded_scorers
from autoscorer.queues.store_queue import StoreQueue
from autoscorer.schemas.service import JobRequest
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.library import names, opening
from autoscorer.store.base import Store
from autoscorer.store.records import Job, NewJob, Role, Submission
from tests.scorers.library.sources import scorer_text, write
from tests.worker.sites import Site, make_site, result_json

pytestmark = pytest.mark.slow


class Waiting:
    """A service with a job that waits, pinned to the first version of `mine`; one version is kept."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.mine = root / "mine.py"
        url = f"sqlite:///{root / 'jobs.db'}"
        self.site: Site = make_site(root, url, DATABASE_URL=url)
        stack.callback(self.site.close)
        self.store: Store = self.site.open_store()
        self.organisation_id = first_organisation(self.store).organisation_id
        self.catalog: Catalog = stack.enter_context(runtime.open_catalog(self.site.settings))
        self.first = self.load("1")
        self.folder = self.site.workspace(scorer="mine")
        self.job = self.submit(self.folder)

    def load(self, version: str) -> str:
        """Load another version as the command line does; gives its SHA-256."""
        write(self.mine, scorer_text(version=version, value=int(version)))
        self.catalog.library.load(self.mine)
        return hashlib.sha256(self.mine.read_bytes()).hexdigest()

    def submit(self, folder: Path) -> Job:
        asked = JobRequest(action="score", workspace=folder.name)
        return self.service().intake.submit(asked, self.organiser()).job

    def service(self) -> Service:
        settings, queue = self.site.settings, StoreQueue(self.store)
        return make_service(settings, store=self.store, queue=queue, catalog=self.catalog)

    def organiser(self) -> Principal:
        return Principal(
            organisation_id=self.organisation_id, subject="ada", role=Role.ORGANISER, token_id="t"
        )

    def score(self) -> Job:
        worker = self.site.worker(self.store, catalog=self.catalog)
        job = self.store.work.claim(queues=("cpu", "score"), worker=worker.worker_id)
        assert job is not None
        worker.work(job)
        found = self.store.jobs.get(self.job.task_id)
        assert found is not None
        return found


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    monkeypatch.setattr(names, "KEPT_VERSIONS", 1)
    with ExitStack() as stack:
        yield Waiting(tmp_path / "site", stack)


def test_a_waiting_job_is_scored_by_the_version_it_was_submitted_with(waiting: Waiting) -> None:
    assert waiting.job.scorer == f"mine@{waiting.first}"
    second = waiting.load("2")
    library = opening.open_library(waiting.site.settings, waiting.store.jobs.pinned)
    assert remove_unneeded_scorers(library) == []
    assert waiting.score().state == "succeeded"
    result = result_json(waiting.folder)
    assert result["summary"]["score"] == 1
    assert result["versioning"]["scorer_sha256"] == waiting.first
    assert remove_unneeded_scorers(library) == [waiting.first]
    entry = waiting.catalog.find("mine")
    assert entry.card.sha256 == second


def test_control_without_asking_the_store_the_version_is_gone_before_the_job(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_settings: object, _pins: Collection[str]) -> Collection[str]:
        return ()

    monkeypatch.setattr(runtime, "_pinned_by_jobs", nobody)
    waiting.load("2")
    job = waiting.score()
    assert job.error is not None
    assert job.error["code"] == "SCORER_NOT_FOUND"


def test_a_job_that_was_cancelled_keeps_its_version_for_a_retry(waiting: Waiting) -> None:
    waiting.store.jobs.cancel(waiting.job.task_id, by="ada")
    waiting.load("2")
    waiting.store.jobs.retry(waiting.job.task_id, by="ada")
    assert waiting.score().state == "succeeded"
    assert result_json(waiting.folder)["versioning"]["scorer_sha256"] == waiting.first


@pytest.mark.parametrize("is_held", [True, False], ids=["held", "control without the hold"])
def test_a_version_replaced_while_a_job_is_being_made_stays_for_it(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch, is_held: bool
) -> None:
    waiting.score()
    jobs, submit_all = waiting.store.jobs, waiting.store.jobs.submit_all

    def after_a_load(asked: Sequence[NewJob]) -> Sequence[Submission | Exception]:
        waiting.load("2")
        return submit_all(asked)

    monkeypatch.setattr(jobs, "submit_all", after_a_load)
    if not is_held:
        found = waiting.catalog.find("mine")
        monkeypatch.setattr(waiting.catalog, "held", lambda _name: nullcontext(found))
    job = waiting.submit(waiting.site.workspace(scorer="mine"))
    assert job.scorer == f"mine@{waiting.first}"
    assert (waiting.catalog.library.find(job.scorer) is not None) is is_held


def test_where_the_store_cannot_be_asked_everything_stays(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert runtime._pinned_by_jobs(site.settings, ["mine@1"]) == ["mine@1"]


def test_where_no_service_ever_was_no_job_needs_anything(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    assert list(runtime._pinned_by_jobs(site.settings, ["mine@1"])) == []
    assert not (site.settings.data_dir / "jobs.db").exists()
