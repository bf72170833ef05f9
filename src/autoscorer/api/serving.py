"""The service in one process: API, worker and maintenance, started in order and stopped in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoscorer import runtime
from autoscorer.access.first import TOKEN_FILE, operator_token
from autoscorer.api import listening
from autoscorer.api.beacon import Beacon, lit
from autoscorer.api.parts import Parts
from autoscorer.api.stopping import Stops
from autoscorer.maintenance.loop import Maintenance
from autoscorer.queues.store_queue import StoreQueue
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event
from autoscorer.worker import Worker

API, WORKER, UPKEEP = "API", "worker", "maintenance"
START_S = 60.0
DRAIN_S = 3.0  # for answers under way, once no job is
END_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where the service is and what it works with."""

    beacon: Beacon
    is_loopback: bool

    @property
    def url(self) -> str:
        return self.beacon.url


class Serving:
    """A service that was opened: `run` takes it from its start to its end, once."""

    def __init__(
        self, *, site: Site, http: listening.HttpServer, upkeep: Maintenance, parts: Parts, grace_s: float
    ) -> None:
        self.site = site
        self._http = http
        self._upkeep = upkeep
        self._parts = parts
        self._grace_s = grace_s
        self._end_work, self._end_upkeep = threading.Event(), threading.Event()
        self._worker: Worker | None = None
        self._queue: StoreQueue | None = None
        self._slots = 0

    def take_jobs(self, worker: Worker, queue: StoreQueue, *, slots: int) -> None:
        """Have a worker of this process, too."""
        self._worker, self._queue, self._slots = worker, queue, slots

    def run(self, stops: Stops, on_ready: Callable[[Site], None]) -> None:
        """Serve until told to stop; then end what runs, or hand it over. Told again: at once.

        ``on_ready`` is called when requests are answered. Raises INTERNAL_ERROR if it comes not that far.
        """
        self._parts.start(UPKEEP, lambda: self._upkeep.run(self._end_upkeep))
        self._parts.start(API, self._http.run)
        try:
            if self._has_started(stops):
                self._parts.start(WORKER, self._work)
                log_event("INFO", "serving", url=self.site.url)
                with lit(self.site.beacon):
                    on_ready(self.site)
                    stops.wait()
        finally:
            self._shut(stops)

    def _has_started(self, stops: Stops) -> bool:
        """Whether the API answers; False if it was told to stop before."""
        waited_s = 0.0
        while not self._http.started:
            if stops.wait(0.02):
                return False
            waited_s += 0.02
            if not self._parts.is_alive(API) or waited_s > START_S:
                raise AutoscorerError("INTERNAL_ERROR", "the API did not start; the service log says why")
        return True

    def _work(self) -> None:
        if self._worker is None or self._queue is None:
            self._end_work.wait()
            return
        self._queue.run(self._worker, slots=self._slots, stop=self._end_work, grace_s=self._grace_s)

    def _shut(self, stops: Stops) -> None:
        log_event("INFO", "stopping")
        self._parts.stop()
        self._http.refuse()
        self._end_work.set()
        if self._queue is not None:
            self._queue.wake()
        self._await_worker(stops)
        self._end_upkeep.set()
        self._parts.join(API, timeout_s=0.0 if stops.count > 1 else DRAIN_S)
        self._http.drop()
        left = [name for name in (API, UPKEEP) if not self._parts.join(name, timeout_s=END_S)]
        log_event("WARNING" if left else "INFO", "stopped", left=left)

    def _await_worker(self, stops: Stops) -> None:
        while not self._parts.join(WORKER, timeout_s=0.05):
            if stops.count > 1 and self._worker is not None:
                self._worker.hand_over()


@contextmanager
def opened(settings: Settings, *, host: str, port: int) -> Iterator[Serving]:
    """The service as its settings say, its port taken, nothing started yet.

    With CELERY_BROKER it has no worker: those are processes of their own.
    Raises CONFIG_VALIDATION_ERROR (no WORKSPACE_ROOT, port or DATA_DIR in use), STORE_UNAVAILABLE.
    """
    root = _workspace_root(settings)
    with (
        listening.alone_in(settings.data_dir),
        listening.listen(host, port) as listener,
        runtime.opened_store(settings) as store,
        runtime.open_catalog(settings, isolate=True, warm=True) as catalog,
    ):
        token_path = settings.data_dir.resolve() / TOKEN_FILE
        operator_token(store, token_path)
        beacon = Beacon(url=listening.url_of(listener), token_path=token_path, workspace_root=root)
        site = Site(beacon=beacon, is_loopback=listening.is_loopback(listener))
        parts = Parts()
        queue = StoreQueue(store)
        serving = Serving(
            site=site,
            http=listening.HttpServer(_app(parts), listener),
            upkeep=Maintenance(store, runtime.maintenance_duties(settings, store, queue)),
            parts=parts,
            grace_s=settings.worker_grace_s,
        )
        if settings.celery_broker is None:
            worker = runtime.make_worker(settings, store, catalog)
            serving.take_jobs(worker, queue, slots=settings.worker_slots)
        yield serving


def _workspace_root(settings: Settings) -> Path:
    root = settings.workspace_root
    if root is not None and root.is_dir():
        return root.resolve()
    what = "is not set" if root is None else f"{root} is no folder"
    message = (
        f"WORKSPACE_ROOT {what}: the service works on the workspaces below it and on nothing else; "
        "set it in config.yaml or the environment, for instance `WORKSPACE_ROOT=. autoscorer serve`"
    )
    raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration")


def _app(_parts: Parts) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app
