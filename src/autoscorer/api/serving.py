"""The service in one process: API, worker and maintenance, started in order and stopped in order."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autoscorer import runtime, service_runtime
from autoscorer.access.first import TOKEN_FILE, operator_token
from autoscorer.api import listening
from autoscorer.api.app import create_app
from autoscorer.api.beacon import Beacon, lit
from autoscorer.api.parts import Parts
from autoscorer.api.service import Service, make_service
from autoscorer.api.site import Site
from autoscorer.api.stopping import Stops
from autoscorer.maintenance.loop import Maintenance
from autoscorer.queues.base import STUCK_S
from autoscorer.queues.store_queue import StoreQueue
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event
from autoscorer.worker import Worker

API, WORKER, UPKEEP = "API", "worker", "maintenance"
START_S = 60.0
DRAIN_S = 3.0  # for answers under way, once no job is
END_S = 30.0
_end_process = os._exit


class Serving:
    """A service that was opened: `run` takes it from its start to its end, once."""

    def __init__(
        self, site: Site, service: Service, *, http: listening.HttpServer, upkeep: Maintenance, parts: Parts
    ) -> None:
        self.site = site
        self._service = service
        self._http = http
        self._upkeep = upkeep
        self._parts = parts
        self._end_work, self._end_upkeep = threading.Event(), threading.Event()
        self._worker: Worker | None = None
        self._queue: StoreQueue | None = None

    def take_jobs(self, worker: Worker, queue: StoreQueue) -> None:
        """Have a worker of this process, too."""
        self._worker, self._queue = worker, queue

    def run(
        self, stops: Stops, *, on_ready: Callable[[Site], None], on_stopping: Callable[[], None]
    ) -> list[str]:
        """Serve until told to stop; then end what runs, or hand it over. Told again: at once.

        ``on_ready`` is called when requests are answered. The answer is what went wrong meanwhile, a
        sentence each. Raises INTERNAL_ERROR if it never came to answer.
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
                on_stopping()
        finally:
            self._shut(stops)
        return self._parts.faults()

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
        grace_s = self.site.settings.worker_grace_s
        self._queue.run(self._worker, slots=self.site.slots, stop=self._end_work, grace_s=grace_s)

    def _shut(self, stops: Stops) -> None:
        log_event("INFO", "stopping")
        self._parts.stop()
        self._service.stopping.set()
        self._http.refuse()
        self._service.watches.close()
        self._end_work.set()
        if self._queue is not None:
            self._queue.wake()
        self._await_worker(stops)
        self._end_upkeep.set()
        self._parts.join(API, timeout_s=0.0 if stops.count > 1 else DRAIN_S)
        self._http.drop()
        left = [name for name in (API, UPKEEP) if not self._parts.join(name, timeout_s=END_S)]
        log_event("WARNING" if left else "INFO", "stopped", left=left)
        if self._parts.is_alive(WORKER):
            log_event("ERROR", "worker_stuck")
            _end_process(1)  # its jobs' leases run out, their traces tell what they left

    def _await_worker(self, stops: Stops) -> None:
        """Until it has ended, or the jobs it handed over have had all the time they get."""
        give_up_at = time.monotonic() + self.site.settings.worker_grace_s + STUCK_S
        while not self._parts.join(WORKER, timeout_s=0.05):
            if stops.count > 1 and self._worker is not None:
                self._worker.hand_over()
                give_up_at = min(give_up_at, time.monotonic() + STUCK_S)
            if time.monotonic() > give_up_at:
                return


@contextmanager
def opened(settings: Settings, *, host: str, port: int) -> Iterator[Serving]:
    """The service as its settings say, its port taken, nothing started yet.

    With CELERY_BROKER it has no worker: those are processes of their own.
    Raises CONFIG_VALIDATION_ERROR (no WORKSPACE_ROOT, port or DATA_DIR in use), STORE_UNAVAILABLE.
    """
    root = _workspace_root(settings)
    with (
        listening.alone_in(settings.data_dir, shared=settings.celery_broker is not None),
        listening.listen(host, port) as listener,
        service_runtime.opened_store(settings) as store,
        runtime.open_catalog(settings, isolate=True, warm=True) as catalog,
    ):
        token_path = settings.data_dir.resolve() / TOKEN_FILE
        operator_token(store, token_path)
        beacon = Beacon(url=listening.url_of(listener), token_path=token_path, workspace_root=root)
        preferred = runtime.preferred_backend(settings)
        slots = settings.worker_slots if settings.celery_broker is None else 0
        site = Site(
            beacon=beacon,
            settings=settings,
            listens_on="{}:{}".format(*listener.getsockname()),
            is_loopback=listening.is_loopback(listener),
            slots=slots,
            backends={
                name: why
                for name, why in runtime.backends_here(settings).items()
                if name in (*settings.service_backends, preferred)
            },
            preferred=preferred,
        )
        parts, queue = Parts(), service_runtime.make_queue(settings, store)
        service = make_service(settings, store=store, queue=queue, catalog=catalog, faults=parts.faults)
        serving = Serving(
            site,
            service,
            http=listening.HttpServer(create_app(service), listener),
            upkeep=Maintenance(store, service_runtime.maintenance_duties(settings, store, queue)),
            parts=parts,
        )
        if isinstance(queue, StoreQueue):
            serving.take_jobs(service_runtime.make_worker(settings, store, catalog), queue)
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
