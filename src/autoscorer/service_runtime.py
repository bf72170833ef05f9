"""The composition root of the service: its store, workers, queue, metrics and maintenance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from autoscorer import runtime
from autoscorer.scorers.library import opening
from autoscorer.utils.errors import AutoscorerError

if TYPE_CHECKING:
    from autoscorer.executor.base import Executor
    from autoscorer.executor.nodes.pool import NodePool
    from autoscorer.maintenance.loop import Duty
    from autoscorer.monitoring.scrape import Scrape
    from autoscorer.queues.base import Queue
    from autoscorer.scorers.catalog import Catalog
    from autoscorer.store.base import Store
    from autoscorer.utils.config import Settings
    from autoscorer.worker import Worker


def open_store(settings: Settings) -> Store:
    """Where the service keeps its jobs: DATABASE_URL, else a file in DATA_DIR; its tables up to date.

    Raises CONFIG_VALIDATION_ERROR, STORE_UNAVAILABLE.
    """
    from autoscorer.store import opening as store_opening

    return store_opening.open_store(settings.database_url, settings.data_dir)


@contextmanager
def opened_store(settings: Settings) -> Iterator[Store]:
    """`open_store`, closed in the end."""
    store = open_store(settings)
    try:
        yield store
    finally:
        store.close()


def make_worker(
    settings: Settings,
    store: Store,
    catalog: Catalog,
    worker_id: str = "",
    *,
    nodes: NodePool | None = None,
) -> Worker:
    """A worker of this process; ``catalog`` must compute apart (`open_catalog(isolate=True, warm=True)`).

    ``nodes``: `runtime.node_pool` with ways of one's own to tell how busy and how well a node is.
    """
    import os
    import secrets
    from functools import partial

    from autoscorer.executor.ownership import this_machine
    from autoscorer.worker import Worker

    pool = nodes or (runtime.node_pool(settings) if settings.nodes else None)
    return Worker(
        settings,
        store,
        catalog,
        worker_id or f"{this_machine()}-{os.getpid()}-{secrets.token_hex(2)}",
        make_executor=partial(runtime.make_executor, nodes=pool) if pool else runtime.make_executor,
        cache=runtime.logged_cache(settings, is_wanted=True),
    )


def make_scrape(settings: Settings, store: Store, catalog: Catalog | None = None) -> Scrape:
    """What this process tells Prometheus; from now on it measures what is done through ``store``.

    With a ``catalog`` it tells of the scorers that were loaded from files, too.
    """
    from autoscorer.monitoring.changes import observe
    from autoscorer.monitoring.scrape import Scrape

    observe(store)
    return Scrape(settings, store, count_scorers=catalog.files if catalog else None)


@contextmanager
def worker_metrics(settings: Settings, store: Store, catalog: Catalog) -> Iterator[None]:
    """What a worker without an API tells, at WORKER_METRICS_PORT within the block; nowhere if that is 0.

    Raises CONFIG_VALIDATION_ERROR when the port is taken or WORKER_METRICS_HOST is not this machine's.
    """
    scrape = make_scrape(settings, store, catalog)
    if settings.worker_metrics_port == 0:
        yield
        return
    from autoscorer.monitoring.endpoint import serving_metrics
    from autoscorer.monitoring.token import metrics_token

    host, port = settings.worker_metrics_host, settings.worker_metrics_port
    with serving_metrics(scrape, port, metrics_token(settings), host=host):
        yield


def make_queue(settings: Settings, store: Store) -> Queue:
    """How workers come to know of jobs: Celery's broker if CELERY_BROKER names one, else the store itself.

    Raises RESOURCE_UNAVAILABLE when the extra `service` is missing.
    """
    if settings.celery_broker is None:
        from autoscorer.queues.store_queue import StoreQueue

        return StoreQueue(store)
    try:
        from autoscorer.queues.celery_queue import CeleryBroker, CeleryQueue, make_app
    except ModuleNotFoundError as exc:
        message = "CELERY_BROKER needs `pip install 'autoscorer[service]'`"
        raise AutoscorerError("RESOURCE_UNAVAILABLE", message, {"missing": exc.name}) from exc
    return CeleryQueue(store, CeleryBroker(make_app(lambda: settings)))


def maintenance_duties(settings: Settings, store: Store, queue: Queue) -> list[Duty]:
    """What the processes of the service do besides their jobs, for `maintenance.loop.Maintenance`."""
    from autoscorer.maintenance.callbacks.duty import callbacks_duty
    from autoscorer.maintenance.leftovers import Leftovers, leftovers_duty
    from autoscorer.maintenance.reconcile import reconcile_duty
    from autoscorer.maintenance.release import release_duty
    from autoscorer.maintenance.retention.duty import retention_duty
    from autoscorer.maintenance.retention.scorers import scorers_duty
    from autoscorer.queues.base import Tended

    leftovers = Leftovers(store, settings.data_dir, lambda: _executors_here(settings))
    return [
        reconcile_duty(store, queue),
        leftovers_duty(leftovers),
        callbacks_duty(settings, store),
        retention_duty(settings, store),
        scorers_duty(opening.open_library(settings, store.jobs.pinned)),
        *([release_duty(queue)] if isinstance(queue, Tended) else []),
    ]


def _executors_here(settings: Settings) -> list[Executor]:
    """The backends that may have left something on this machine."""
    from autoscorer.scheduler import on_each_engine

    used_docker = any((settings.data_dir / "attempts").glob("*.json"))
    # Each engine by itself: one that does not answer keeps nobody from cleaning the others.
    engines = [placed for placed in on_each_engine(settings) if used_docker or runtime.engine_answers(placed)]
    names = ["local", *(["k8s"] if settings.k8s_enabled else [])]
    made = [runtime.make_executor(name, settings) for name in names]
    return made + [runtime.make_executor("docker", placed) for placed in engines]
