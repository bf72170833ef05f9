"""The composition root: configuration in, ready objects and the public functions out."""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoscorer import executor
from autoscorer.reports.pictures import NOT_DRAWN, add_pictures, check_can_draw
from autoscorer.schemas.job import SpecFault, spec_error
from autoscorer.schemas.result import Result
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.evaluation import evaluate
from autoscorer.scorers.host import Entry
from autoscorer.scorers.library import opening
from autoscorer.scorers.result_cache import UNUSABLE, ResultCache
from autoscorer.scorers.view import files_view
from autoscorer.utils.artifacts import temporary_folder
from autoscorer.utils.config import Config, Settings
from autoscorer.utils.errors import AutoscorerError

if TYPE_CHECKING:  # to score one file against another, none of these is needed
    from types import ModuleType

    from autoscorer.confine.probes import Diagnosis
    from autoscorer.executor.base import Executor, StopSignal
    from autoscorer.job import JobContext
    from autoscorer.maintenance.loop import Duty
    from autoscorer.monitoring.scrape import Scrape
    from autoscorer.queues.base import Queue
    from autoscorer.records import JobFacts
    from autoscorer.scheduler import Isolation
    from autoscorer.store.base import Store
    from autoscorer.worker import Worker

_SUFFIX = "_executor"


def backend_names() -> list[str]:
    """The backends of this installation: one `<name>_executor.py` each."""
    modules = (module.name for module in pkgutil.iter_modules(executor.__path__))
    return sorted(name.removesuffix(_SUFFIX) for name in modules if name.endswith(_SUFFIX))


def make_executor(backend: str, settings: Settings, isolation: Isolation = "hardened") -> Executor:
    """The executor called ``backend``, or the one ``auto`` stands for; its library is imported only now.

    Raises AutoscorerError RESOURCE_UNAVAILABLE: no engine answers, or the backend's extra is missing.
    """
    from autoscorer.scheduler import choose_backend, on_a_node

    placed = on_a_node(settings)
    name = choose_backend(backend, lambda: _engine_answers(placed), kubernetes_enabled=settings.k8s_enabled)
    made: Executor = _backend_module(name).make_executor(placed, isolation)
    return made


def diagnose(backend: str, settings: Settings) -> Diagnosis:
    """What ``backend`` enforces here, tried. ``auto`` is Kubernetes if enabled, else Docker where an
    engine answers, else local: nothing is run for anybody, so here it may fall back.

    Raises AutoscorerError RESOURCE_UNAVAILABLE: no engine answers, or the backend's extra is missing.
    """
    from autoscorer.scheduler import on_a_node

    placed = on_a_node(settings)
    if backend == "auto" and settings.k8s_enabled:
        backend = "k8s"
    if backend == "auto":
        backend = "docker" if _engine_answers(placed) else "local"
    found: Diagnosis = _backend_module(backend).diagnose(placed)
    return found


def backends_here(settings: Settings) -> dict[str, str | None]:
    """Each backend, and why it cannot be used now with what to do; None for one that can."""
    from autoscorer.scheduler import on_a_node

    placed = on_a_node(settings)
    found: dict[str, str | None] = {}
    for name in backend_names():
        try:
            found[name] = _backend_module(name).missing(placed)
        except AutoscorerError as exc:
            found[name] = exc.message
    return found


def _backend_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"autoscorer.executor.{name}{_SUFFIX}")
    except ModuleNotFoundError as exc:
        message = f"the {name} backend needs `pip install 'autoscorer[{name}]'`"
        raise AutoscorerError("RESOURCE_UNAVAILABLE", message, {"missing": exc.name}) from exc


def _engine_answers(settings: Settings) -> bool:
    try:
        from autoscorer.executor.docker.client import answers
    except ModuleNotFoundError:
        return False
    return answers(settings)


def open_catalog(settings: Settings | None = None, *, isolate: bool = False, warm: bool = False) -> Catalog:
    """The scorers of this installation; close it in the end.

    ``isolate``: all compute in a process apart. ``warm``: for whoever scores often.
    """
    chosen = settings or Config().settings
    return opening.open_catalog(
        chosen, needed=lambda pins: _pinned_by_jobs(chosen, pins), isolate=isolate, warm=warm
    )


def _pinned_by_jobs(settings: Settings, pins: Collection[str]) -> Collection[str]:
    """Those of ``pins`` that a job of the service needs; all, if it cannot be asked."""
    from autoscorer.store import opening as store_opening

    try:
        store = store_opening.present_store(settings.database_url, settings.data_dir)
        if store is None:
            return ()
        with closing(store):
            return store.jobs.pinned(pins)
    except AutoscorerError as exc:  # nothing is lost by keeping them until the next time
        from autoscorer.utils.logger import log_event

        log_event("WARNING", "old_scorers_stay", code=exc.code, reason=exc.message)
        return pins


def open_cache(settings: Settings, on_problem: Callable[[str], None]) -> ResultCache | None:
    """The results kept on this installation, None where none are. ``on_problem`` hears why it fails."""
    if settings.cache_max_bytes == 0:
        return None
    return ResultCache(settings.data_dir, settings.cache_max_bytes, on_problem)


def _logged_cache(settings: Settings, *, is_wanted: bool) -> ResultCache | None:
    def on_problem(message: str) -> None:
        from autoscorer.utils.logger import log_event

        log_event("WARNING", UNUSABLE.lower(), message=message)

    return open_cache(settings, on_problem) if is_wanted else None


def job_context(
    settings: Settings,
    catalog: Catalog,
    *,
    cache: ResultCache | None = None,
    backend: str = "auto",
    isolation: Isolation = "hardened",
    on_stage: Callable[[str], None] = lambda _stage: None,
    stop: StopSignal = lambda: None,
    keep_attempt: bool = False,
    plots: bool = False,
) -> JobContext:
    """What `pipeline` needs to work on a job.

    Raises RESOURCE_UNAVAILABLE for ``plots`` without the extra of that name.
    """
    from autoscorer.job import JobContext
    from autoscorer.scheduler import settings_for

    if plots:
        check_can_draw()

    return JobContext(
        settings=settings_for(backend, settings),
        catalog=catalog,
        cache=cache,
        choose=lambda: make_executor(backend, settings, isolation),
        on_stage=on_stage,
        stop=stop,
        keep_attempt=keep_attempt,
        plots=plots,
    )


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


def make_worker(settings: Settings, store: Store, catalog: Catalog, worker_id: str = "") -> Worker:
    """A worker of this process; ``catalog`` must compute apart (`open_catalog(isolate=True, warm=True)`)."""
    import os
    import secrets

    from autoscorer.executor.ownership import this_machine
    from autoscorer.worker import Worker

    return Worker(
        settings,
        store,
        catalog,
        worker_id or f"{this_machine()}-{os.getpid()}-{secrets.token_hex(2)}",
        make_executor=make_executor,
        cache=_logged_cache(settings, is_wanted=True),
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
    from autoscorer.scheduler import on_a_node

    placed = on_a_node(settings)
    used_docker = any((settings.data_dir / "attempts").glob("*.json"))
    names = ["local", "docker"] if used_docker or _engine_answers(placed) else ["local"]
    names += ["k8s"] if settings.k8s_enabled else []
    return [make_executor(name, settings) for name in names]


def score(
    workspace: str | Path | None = None,
    *,
    reference: str | Path | None = None,
    predictions: str | Path | None = None,
    scorer: str | None = None,
    params: Mapping[str, Any] | None = None,
    cache: bool = True,
    plots: bool = False,
    config: Config | None = None,
) -> Result:
    """Score a workspace's `output/`, or one predictions file against one reference file.

    ``score("examples/classification")`` writes `output/result.json`;
    ``score(reference="gt.csv", predictions="pred.csv", scorer="classification_f1")`` writes nothing.
    A result that is known is not computed again (``versioning["cached"]``); with ``cache=False`` it is.
    ``plots`` adds pictures to a workspace's artifacts (needs the extra of that name).
    Raises AutoscorerError; its ``code`` and ``blame`` say what was wrong and whose fault it is.
    """
    settings = (config or Config()).settings
    results = _logged_cache(settings, is_wanted=cache)
    if workspace is not None:
        if reference is not None or predictions is not None:
            raise ValueError("give either a workspace or reference and predictions")
        from autoscorer import pipeline

        with open_catalog(settings) as catalog:
            context = job_context(settings, catalog, cache=results, plots=plots)
            return pipeline.score(context, workspace, scorer_name=scorer, params=params).result
    if reference is None or predictions is None or scorer is None:
        raise ValueError("without a workspace, reference, predictions and scorer are needed")
    if plots:
        raise ValueError("pictures are put into a workspace's output, and there is no workspace")
    with open_catalog(settings) as catalog:
        return score_files(catalog, Path(reference), Path(predictions), scorer, params=params, cache=results)


def run(
    workspace: str | Path,
    *,
    backend: str = "auto",
    isolation: Isolation = "hardened",
    config: Config | None = None,
) -> JobFacts:
    """Run a workspace's container (inference only); its predictions end in `output/`.

    Raises AutoscorerError.
    """
    from autoscorer import pipeline

    settings = (config or Config()).settings
    with open_catalog(settings) as catalog:
        context = job_context(settings, catalog, backend=backend, isolation=isolation)
        return pipeline.run(context, workspace)


def run_pipeline(
    workspace: str | Path,
    *,
    backend: str = "auto",
    isolation: Isolation = "hardened",
    cache: bool = True,
    plots: bool = False,
    config: Config | None = None,
) -> Result:
    """Run a workspace's container, then score its predictions; ``plots`` adds pictures.

    Raises AutoscorerError.
    """
    from autoscorer import pipeline

    settings = (config or Config()).settings
    with open_catalog(settings) as catalog:
        results = _logged_cache(settings, is_wanted=cache)
        context = job_context(
            settings, catalog, cache=results, backend=backend, isolation=isolation, plots=plots
        )
        return pipeline.run_then_score(context, workspace).result


def score_files(
    catalog: Catalog,
    reference: Path,
    predictions: Path,
    scorer_name: str,
    *,
    params: Mapping[str, Any] | None = None,
    output: Path | None = None,
    cache: ResultCache | None = None,
    plots: bool = False,
) -> Result:
    """Score one file against another; with ``output`` its result and artifacts are written there.

    They replace those of an earlier score, never anything else. ``plots`` adds pictures to them.
    Raises AutoscorerError; CONFIG_VALIDATION_ERROR when something else has their names in ``output``.
    """
    if plots:
        check_can_draw()
    with catalog.held(scorer_name) as entry:
        if output is not None:
            _make_output(output)
            _check_output(output)
        given = params or {}
        result = _score_files(
            catalog, entry, reference, predictions, params=given, output=output, cache=cache
        )
    if output is not None:
        from autoscorer import records

        result = _with_pictures(result, output) if plots else result
        records.publish_result(result, output)
    return result


def _score_files(
    catalog: Catalog,
    entry: Entry,
    reference: Path,
    predictions: Path,
    *,
    params: Mapping[str, Any],
    output: Path | None,
    cache: ResultCache | None,
) -> Result:
    """The result; its artifacts are in ``output``, if there is one."""
    with temporary_folder() as root:
        with files_view(entry.card, reference, predictions, root) as view:
            provenance = {"isolation": "none: nothing was run", "image_digest": "none"}
            result = evaluate(catalog, entry, view, params, provenance, cache=cache)
        if output is None:
            return result.model_copy(update={"artifacts": {}})
        from autoscorer import records

        return records.publish_artifacts(result, root / "output", output)


def _with_pictures(result: Result, output: Path) -> Result:
    from autoscorer.utils.logger import log_event

    started = time.perf_counter()
    drawn, doubts = add_pictures(result, output)
    for doubt in doubts:
        log_event("WARNING", NOT_DRAWN.lower(), message=doubt)
    timing = {**result.timing, "plots_seconds": round(time.perf_counter() - started, 6)}
    return drawn.model_copy(update={"timing": timing})


def _make_output(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        fault = SpecFault("--output", f"cannot be made ({exc.strerror})", "name a folder you may write to")
        raise spec_error([fault], cause="workspace") from exc


def _check_output(output: Path) -> None:
    from autoscorer import records

    if foreign := records.not_ours(output):
        what = f"holds {' and '.join(foreign)}, which no score put there as it is now"
        fault = SpecFault("--output", what, "name a new folder, or move that away")
        raise spec_error([fault], cause="workspace")
