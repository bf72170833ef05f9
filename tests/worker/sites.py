"""A service in a temporary folder: settings, a store, workspaces, jobs, and workers for them."""

from __future__ import annotations

import functools
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoscorer import runtime
from autoscorer.maintenance.leftovers import Leftovers
from autoscorer.maintenance.reconcile import reconcile
from autoscorer.queues.store_queue import StoreQueue
from autoscorer.scorers.catalog import Catalog
from autoscorer.store.base import Store
from autoscorer.store.clock import Instant, kernel_clock
from autoscorer.store.records import Action, Job, NewJob
from autoscorer.store.sql_store import SqlStore, file_url, open_file, open_store
from autoscorer.store.transitions import STATES, JobState
from autoscorer.utils.config import Config, Settings
from autoscorer.worker import Worker
from tests.worker.stub import GOOD, StubExecutor

BOUND_S = 60.0


@dataclass
class Site:
    """Everything of one service. ``url`` is its database."""

    root: Path
    url: str
    settings: Settings
    _numbers: Any = field(default_factory=itertools.count)
    _opened: list[SqlStore] = field(default_factory=list)

    def close(self) -> None:
        """Close every store that was opened."""
        while self._opened:
            self._opened.pop().close()

    def open_store(self, *, ahead_s: float = 0.0) -> SqlStore:
        """The store; with ``ahead_s`` for a process that comes so much later."""
        clock = later(ahead_s) if self.url.startswith("sqlite") else server_later(ahead_s)
        self._opened.append(SqlStore(self.url, clock=clock if ahead_s else None))
        return self._opened[-1]

    def workspace(self, program: str = "good", *, below: Path | None = None, **spec: Any) -> Path:
        number = next(self._numbers)
        root = (below or self.root / "workspaces") / f"w{number}"
        for name in ("input", "reference", "output"):
            (root / name).mkdir(parents=True)
        value = {
            "job_id": f"job-{number}",
            "task_type": "classification",
            "scorer": "classification_f1",
            "container": {"image": "stub", "cmd": [program]},
        }
        (root / "meta.json").write_text(json.dumps(value | spec))
        (root / "reference" / "gt.csv").write_text(GOOD)
        (root / "output" / "pred.csv").write_text("id,label\n1,dog\n2,dog\n")
        return root

    def submit(self, store: Store, folder: Path, action: str = "pipeline", **fields: Any) -> Job:
        given: dict[str, Any] = {
            "organisation_id": organisation(store),
            "job_id": json.loads((folder / "meta.json").read_text())["job_id"],
            "action": Action(action),
            "workspace": str(folder.relative_to(self.root / "workspaces")),
            "spec": {},
            "submitted_by": "ada",
            "backend": "stub",
        }
        return store.jobs.submit(NewJob(**{**given, **fields})).job

    def worker(self, store: Store, worker_id: str = "w1", catalog: Catalog | None = None) -> Worker:
        return Worker(
            self.settings,
            store,
            catalog or Catalog(),
            worker_id,
            make_executor=lambda backend, settings: (
                StubExecutor() if backend == "stub" else runtime.make_executor(backend, settings)
            ),
        )

    def drain(self, store: Store, worker: Worker | None = None) -> None:
        """Work on what waits until nothing does."""
        worker = worker or self.worker(store, "drainer")
        while (job := store.work.claim(queues=("cpu",), worker=worker.worker_id)) is not None:
            worker.work(job)

    def recover(self, store: Store) -> None:
        """What maintenance does, once: jobs first, then what dead workers left."""
        reconcile(store, StoreQueue(store))
        Leftovers(store, self.settings.data_dir, lambda: []).remove()


def make_site(root: Path, url: str | None = None, **environ: str) -> Site:
    """A new service in ``root``; ``url`` of a database that is there already, or a new SQLite file."""
    (root / "workspaces").mkdir(parents=True, exist_ok=True)
    if url is None:
        url = file_url(root / "jobs.db")
        (root / "jobs.db").write_bytes(_migrated())
    else:
        open_store(url).close()
    return site_at(root, url, **environ)


@functools.cache
def _migrated() -> bytes:
    """A SQLite file with today's tables: made once, since a thousand tests begin with one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "jobs.db")
        open_file(path).close()
        assert [path.name for path in Path(folder).iterdir()] == ["jobs.db"], "nothing is left in its log"
        return path.read_bytes()


def site_at(root: Path, url: str, **environ: str) -> Site:
    """A service that is there already."""
    given = {
        "WORKSPACE_ROOT": str(root / "workspaces"),
        "DATA_DIR": str(root / "data"),
        "MIN_FREE_DISK": "0",
        "MAX_OUTPUT_BYTES": "1Mi",
        "CACHE_MAX_BYTES": "0",
    }
    return Site(root, url, Config(root / "none.yaml", environ=given | environ).settings)


def organisation(store: Store) -> str:
    """The one organisation of a test's service."""
    found = store.access.organisations()
    return (found[0] if found else store.access.add_organisation("acme")).organisation_id


def later(seconds: float) -> Callable[[], Instant]:
    """This machine's clock as it will be."""

    def clock() -> Instant:
        now = kernel_clock()
        return Instant(at=now.at, era=now.era, elapsed_s=now.elapsed_s + seconds)

    return clock


def server_later(seconds: float) -> Callable[[], Instant]:
    """A database server's clock as it will be; server and tests are on one machine."""
    return lambda: Instant.of_server(time.time() + seconds)


def state_of(store: Store, job: Job) -> Job:
    found = store.jobs.get(job.task_id)
    assert found is not None
    return found


def until(condition: Callable[[], object], *, within_s: float = BOUND_S, what: str = "") -> None:
    """Wait for a condition, no longer than ``within_s``."""
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {within_s} s: {what or condition}"
        time.sleep(0.01)


def ended(store: Store, job: Job) -> bool:
    return STATES[state_of(store, job).state].final


def check_sound(site: Site, store: Store, job: Job, folder: Path) -> None:
    """The job ended well, once; its result stands in its workspace; nothing else is left."""
    found = state_of(store, job)
    assert found.state is JobState.SUCCEEDED, found.error
    assert event_names(store, job).count("job_succeeded") == 1
    published = store.jobs.result(job.task_id)
    assert published is not None
    assert published.body["summary"]["f1_macro"] == 1.0
    assert result_json(folder) == published.body
    assert (folder / "output" / "pred.csv").read_text() == GOOD
    left = leftovers(site)
    assert left == [], left


def result_json(workspace: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workspace / "output" / "result.json").read_text())
    return found


def event_names(store: Store, job: Job) -> list[str]:
    return [event.name for event in store.jobs.events(job.task_id)]


def leftovers(site: Site) -> list[str]:
    """What should not be there when nothing runs; what vanishes meanwhile is not there."""
    found = [f"trace {path.name}" for path in (site.settings.data_dir / "working").rglob("*")]
    for workspace in (site.root / "workspaces").iterdir():
        for entry in (workspace / ".attempts").glob("*"):
            with suppress(FileNotFoundError):
                if [path.name for path in entry.iterdir()] != ["previous_output"]:
                    found.append(f"{workspace.name}/{entry.name}")
        found += [f"{workspace.name}/{path.name}" for path in workspace.glob(".autoscorer.lock.*")]
        found += [f"{workspace.name}/output/{path.name}" for path in (workspace / "output").glob(".*")]
    return found
