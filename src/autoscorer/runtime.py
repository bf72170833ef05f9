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
    from autoscorer.executor.nodes.pool import NodePool
    from autoscorer.executor.nodes.ranking import Health, Load
    from autoscorer.job import JobContext
    from autoscorer.scheduler import Isolation
    from autoscorer.utils.config import Node

_SUFFIX = "_executor"


def backend_names() -> list[str]:
    """The backends of this installation: one `<name>_executor.py` each."""
    modules = (module.name for module in pkgutil.iter_modules(executor.__path__))
    return sorted(name.removesuffix(_SUFFIX) for name in modules if name.endswith(_SUFFIX))


def make_executor(
    backend: str, settings: Settings, isolation: Isolation = "hardened", *, nodes: NodePool | None = None
) -> Executor:
    """The executor called ``backend``, or the one ``auto`` stands for; its library is imported only now.

    ``nodes`` is what this process knows of NODES so far, for whoever runs job after job: a job that names no
    backend waits then for nodes that do not answer, too. Raises AutoscorerError RESOURCE_UNAVAILABLE: no
    engine answers, or the backend's extra is missing.
    """
    from autoscorer.scheduler import choose_backend

    def may_use_docker() -> bool:
        return nodes is not None or engine_answers(settings)

    name = choose_backend(backend, may_use_docker, kubernetes_enabled=settings.k8s_enabled)
    module = _backend_module(name)
    pool = (nodes or node_pool(settings)) if name == "docker" else None
    if pool is not None:
        return _on_nodes(pool, settings, isolation)
    made: Executor = module.make_executor(settings, isolation)
    return made


def node_pool(
    settings: Settings, *, load: Load | None = None, health: Health | None = None
) -> NodePool | None:
    """What a process knows of the engines in NODES, to be kept from job to job; None without NODES.

    ``load`` and ``health`` are the caller's own ways to tell how busy and how well a node is; else its
    engine is asked. Raises RESOURCE_UNAVAILABLE when the extra `docker` is missing.
    """
    if not settings.nodes:
        return None
    from autoscorer.executor.nodes.pool import NodePool
    from autoscorer.scheduler import settings_on

    _backend_module("docker")
    from autoscorer.executor.docker.presence import engine_health, engine_load

    def on(node: Node) -> Settings:
        return settings_on(node, settings)

    return NodePool(
        settings.nodes,
        load=load or engine_load(on),
        health=health or engine_health(on),
        selector=settings.node_selector,
    )


def _on_nodes(pool: NodePool, settings: Settings, isolation: Isolation) -> Executor:
    from autoscorer.executor.nodes.placed import PlacedExecutor
    from autoscorer.scheduler import settings_on

    def make(node: Node) -> Executor:
        placed = settings_on(node, settings)
        made: Executor = _backend_module("docker").make_executor(placed, isolation, declared_gpus=node.gpus)
        return made

    return PlacedExecutor(pool, make, wait_s=settings.node_wait_s)


def diagnose(backend: str, settings: Settings) -> Diagnosis:
    """What ``backend`` enforces here, tried. ``auto`` is Kubernetes if enabled, else Docker where an
    engine answers, else local: nothing is run for anybody, so here it may fall back.

    Raises AutoscorerError RESOURCE_UNAVAILABLE: no engine answers, or the backend's extra is missing.
    """
    if backend == "auto" and settings.k8s_enabled:
        backend = "k8s"
    if backend == "auto":
        backend = "docker" if engine_answers(settings) else "local"
    module = _backend_module(backend)
    if backend == "docker" and settings.nodes:
        from autoscorer.executor.docker.node_probes import diagnose_nodes
        from autoscorer.scheduler import settings_on

        return diagnose_nodes(settings.nodes, lambda node: settings_on(node, settings))
    found: Diagnosis = module.diagnose(settings)
    return found


def preferred_backend(settings: Settings) -> str:
    """What ``auto`` stands for, whether it can be used now or not: see `scheduler.choose_backend`."""
    return "k8s" if settings.k8s_enabled else "docker"


def backends_here(settings: Settings) -> dict[str, str | None]:
    """Each backend, and why it cannot be used now with what to do; None for one that can."""
    from autoscorer.scheduler import on_each_engine

    found: dict[str, str | None] = {}
    for name in backend_names():
        engines = on_each_engine(settings) if name == "docker" else [settings]
        try:
            missing = [_backend_module(name).missing(placed) for placed in engines]
            found[name] = None if None in missing else "; ".join(map(str, missing))
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
    """Whether a Docker engine can be used, any of NODES if there are some, and its library is there."""
    try:
        from autoscorer.executor.docker.client import answers
    except ModuleNotFoundError:
        return False
    from autoscorer.scheduler import on_each_engine

    return any(map(answers, on_each_engine(settings)))


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
    nodes: NodePool | None = None,
) -> JobContext:
    """What `pipeline` needs to work on a job. ``nodes``: as `make_executor` has it.

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
        choose=_chooser(backend, settings, isolation, nodes),
        on_stage=on_stage,
        stop=stop,
        keep_attempt=keep_attempt,
        plots=plots,
    )


def _chooser(
    backend: str, settings: Settings, isolation: Isolation, nodes: NodePool | None
) -> Callable[[], Executor]:
    """Makes the executor of each try; what one learns of the nodes, the next one knows."""
    known = nodes

    def choose() -> Executor:
        nonlocal known
        if known is None and settings.nodes:
            known = node_pool(settings)
        kept = {"nodes": known} if known is not None else {}
        return make_executor(backend, settings, isolation, **kept)

    return choose
