"""How things stand, read off when Prometheus asks: the store, the disks, the machine, the scorers."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from autoscorer import __version__
from autoscorer.queues.base import QUEUES
from autoscorer.scheduler import least_free_bytes
from autoscorer.store.base import Store
from autoscorer.store.records import CallbackState, Presence
from autoscorer.store.transitions import ACTIVE
from autoscorer.telemetry import instruments as told
from autoscorer.telemetry.measuring import REGISTRY, Instrument
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
KEPT_S = 5.0  # so that many who ask cost the store no more than one
Samples = Mapping[tuple[str, ...], float]
Reading = tuple[Instrument, Samples]
CountScorers = Callable[[], tuple[int, int]]


class Scrape:
    """What one process tells. ``count_scorers``: those from files, and the files that failed to load."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        count_scorers: CountScorers | None = None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._store = store
        self._count_scorers = count_scorers
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._of_the_store: list[Reading] = []
        self._read_s: float | None = None

    def text(self) -> bytes:
        """The answer to a scrape, in the text format; empty without the extra."""
        if not REGISTRY.start():
            return b""
        from prometheus_client import generate_latest

        answer: bytes = generate_latest(self)
        return answer

    def collect(self) -> Iterable[Any]:
        """As Prometheus' registries do."""
        yield from REGISTRY.live.collect()
        for reading in [*self._store_readings(), *self._machine_readings(), *self._scorer_readings()]:
            yield _family(*reading)

    def _store_readings(self) -> list[Reading]:
        with self._lock:
            if self._read_s is None or self._elapsed() - self._read_s > KEPT_S:
                self._of_the_store = self._read_store()
                self._read_s = self._elapsed()
            return self._of_the_store

    def _read_store(self) -> list[Reading]:
        try:
            return [(told.STORE_UP, {(): 1.0}), *_of_store(self._store)]
        except AutoscorerError as exc:
            log_event("WARNING", "store_not_read", code=exc.code, reason=exc.message)
            return [(told.STORE_UP, {(): 0.0})]

    def _machine_readings(self) -> Iterator[Reading]:
        folders = {"workspaces": self._settings.workspace_root, "data": self._settings.data_dir}
        disks = {name: _disk(folder) for name, folder in folders.items() if folder is not None}
        seen = {name: disk for name, disk in disks.items() if disk is not None}
        yield told.DISK_FREE, {(name,): float(disk.free) for name, disk in seen.items()}
        yield told.DISK_SIZE, {(name,): float(disk.total) for name, disk in seen.items()}
        yield told.DISK_WATERMARK, {(): float(max(least_free_bytes(self._settings).values()))}
        memory, cpu = psutil.virtual_memory(), psutil.cpu_times()
        idle_s = cpu.idle + getattr(cpu, "iowait", 0.0)
        guests_s = getattr(cpu, "guest", 0.0) + getattr(cpu, "guest_nice", 0.0)  # counted as user already
        yield told.MEMORY_AVAILABLE, {(): float(memory.available)}
        yield told.MEMORY_SIZE, {(): float(memory.total)}
        yield told.MACHINE_CPU, {("busy",): sum(cpu) - idle_s - guests_s, ("idle",): idle_s}
        yield told.BUILD, {(__version__,): 1.0}

    def _scorer_readings(self) -> Iterator[Reading]:
        if self._count_scorers is None:
            return
        try:
            loaded, failed = self._count_scorers()
        except (AutoscorerError, OSError) as exc:
            log_event("WARNING", "scorers_not_counted", reason=str(exc))
            return
        yield told.SCORERS, {("loaded",): float(loaded), ("failed",): float(failed)}


def _of_store(store: Store) -> Iterator[Reading]:
    counts, since = store.jobs.counts(), store.jobs.waiting_since()
    queues = sorted({*QUEUES, *(queue for queue, _ in counts)})
    yield (
        told.JOBS,
        {
            (queue, state): float(counts.get((queue, state), 0))
            for queue in queues
            for state in sorted(ACTIVE)
        },
    )
    age_s = (store.now().at - since).total_seconds() if since else 0.0
    yield told.OLDEST_WAITING, {(): max(0.0, age_s)}
    yield told.OVERDUE, {(): float(len(store.work.overdue(limit=100)))}
    yield from _of_workers(store.workers.present())
    callbacks = store.callbacks.counts()
    states = (CallbackState.PENDING, CallbackState.DEAD)
    yield told.CALLBACKS, {(state,): float(callbacks.get(state, 0)) for state in states}


def _of_workers(present: Sequence[Presence]) -> Iterator[Reading]:
    queues = sorted({*QUEUES, *(queue for worker in present for queue in worker.queues)})
    counted: dict[tuple[str, ...], float] = {
        (queue, state): 0.0 for queue in queues for state in ("claiming", "paused")
    }
    for worker in present:
        for queue in worker.queues:
            counted[queue, "paused" if worker.paused else "claiming"] += 1
    yield told.WORKERS, counted
    yield told.WORKER_SLOTS, {(): float(sum(worker.slots for worker in present))}


def _disk(folder: Path) -> Any:
    """What `shutil.disk_usage` says of a folder's disk, or of the nearest folder above that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder)
    except OSError:
        return None


def _family(instrument: Instrument, samples: Samples) -> Any:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    kind = CounterMetricFamily if instrument.kind == "counter" else GaugeMetricFamily
    family = kind(instrument.name, instrument.en, labels=instrument.labels)
    for labels, value in samples.items():
        family.add_metric(labels, value)
    return family
