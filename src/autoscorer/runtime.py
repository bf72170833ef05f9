"""The composition root: configuration in, ready objects out."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection
from contextlib import closing
from typing import TYPE_CHECKING

from autoscorer import executor
from autoscorer.reports.pictures import check_can_draw
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.library import opening
from autoscorer.scorers.result_cache import UNUSABLE, ResultCache
from autoscorer.utils.config import Config, Settings
from autoscorer.utils.errors import AutoscorerError

if TYPE_CHECKING:  # to score one file against another, none of these is needed
    from types import ModuleType

    from autoscorer.confine.probes import Diagnosis
    from autoscorer.executor.base import Executor, StopSignal
    from autoscorer.job import JobContext
    from autoscorer.scheduler import Isolation

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
    name = choose_backend(backend, lambda: engine_answers(placed), kubernetes_enabled=settings.k8s_enabled)
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
        backend = "docker" if engine_answers(placed) else "local"
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


def engine_answers(settings: Settings) -> bool:
    """Whether a Docker engine can be used, and its library is there."""
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


def logged_cache(settings: Settings, *, is_wanted: bool) -> ResultCache | None:
    """`open_cache` whose troubles go to the log; None where it is not wanted."""

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
