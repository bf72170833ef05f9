"""A service under way in this process, on a free port, with a store to look into."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from autoscorer import runtime
from autoscorer.api import serving
from autoscorer.api.site import Site as Place
from autoscorer.api.stopping import Stops
from autoscorer.executor.base import Executor
from autoscorer.store.sql_store import SqlStore
from autoscorer.utils.config import Settings
from tests.worker.sites import Site, site_at, until
from tests.worker.stub import StubExecutor


@dataclass
class Running:
    """``faults`` is what `Serving.run` answered, once it has ended."""

    site: Site
    store: SqlStore
    stops: Stops
    place: Place
    thread: threading.Thread
    faults: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.place.url

    def get(self, path: str) -> httpx.Response:
        with httpx.Client(trust_env=False) as client:
            return client.get(self.url + path)

    def end(self) -> None:
        """Tell it to stop, once, and wait until it has."""
        self.stops.say()
        self.join()

    def join(self) -> None:
        self.thread.join(60)
        assert not self.thread.is_alive()


def serve_site(root: Path, **environ: str) -> Site:
    """A service in ``root`` that keeps its jobs in DATA_DIR."""
    (root / "workspaces").mkdir(parents=True, exist_ok=True)
    offered = {"SERVICE_BACKENDS": '["docker", "local", "stub"]'}
    return site_at(root, f"sqlite:///{root / 'data' / 'jobs.db'}", **(offered | environ))


@contextmanager
def running(site: Site, patch: pytest.MonkeyPatch, *, port: int = 0) -> Iterator[Running]:
    """`serve`, with the stub backend besides the others; ended with the block."""
    usual = runtime.make_executor

    def make_executor(backend: str, settings: Settings) -> Executor:
        return StubExecutor() if backend == "stub" else usual(backend, settings)

    names = runtime.backend_names()
    patch.setattr("autoscorer.runtime.make_executor", make_executor)
    patch.setattr("autoscorer.runtime.backend_names", lambda: sorted({*names, "stub"}))
    patch.setattr("autoscorer.api.beacon.FOLDER", site.root / "beacons")
    ready = threading.Event()
    with Stops() as stops, serving.opened(site.settings, host="127.0.0.1", port=port) as opened:
        found: list[str] = []

        def run() -> None:
            found.extend(opened.run(stops, on_ready=lambda _site: ready.set(), on_stopping=lambda: None))

        thread = threading.Thread(target=run)
        thread.start()
        started = Running(site, site.open_store(), stops, opened.site, thread, found)
        try:
            until(lambda: ready.is_set() or not thread.is_alive(), what="it serves")
            yield started
        finally:
            with suppress(OSError):
                stops.say()
                stops.say()
            thread.join(60)
            site.close()
