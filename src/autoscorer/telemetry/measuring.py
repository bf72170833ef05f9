"""An instrument, declared without Prometheus; it measures once `start` was called and the extra is there."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["counter", "gauge", "histogram"]
QUICK_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LONG_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 10800.0)
SIZES = tuple(float(4**power * 2**20) for power in range(9))  # 1 MiB to 64 GiB
_LOCK = threading.Lock()


@dataclass(eq=False, kw_only=True)
class Instrument:
    """One metric. ``name`` has its unit and, of a counter, ``_total``. What it tells stands in two languages.

    A gauge is read off at a scrape (see `monitoring.scrape`) unless it is raised and lowered with `held`.
    Label values come from closed sets, never from what somebody submitted.
    """

    name: str
    kind: Kind
    en: str
    zh: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    at_scrape: bool = False
    _live: Any = field(default=None, repr=False)

    def add(self, amount: float = 1.0, **labels: str) -> None:
        """Count up."""
        if self._live is not None:
            self._of(labels).inc(amount)

    def observe(self, value: float, **labels: str) -> None:
        """Put a value into the histogram; what cannot be a length of time or a size is left out."""
        if self._live is not None and value >= 0:
            self._of(labels).observe(value)

    @contextmanager
    def held(self, **labels: str) -> Iterator[None]:
        """Be one more within the block."""
        live = self._live and self._of(labels)
        if live is not None:
            live.inc()
        try:
            yield
        finally:
            if live is not None:
                live.dec()

    def appear(self, **labels: str) -> None:
        """Be there as zero: what was never seen cannot be seen to rise."""
        if self._live is not None:
            self._of(labels)

    def _of(self, labels: Mapping[str, str]) -> Any:
        return self._live.labels(**labels) if self.labels else self._live


class Registry:
    """All instruments, and Prometheus' registry of this process once it measures."""

    def __init__(self) -> None:
        self.instruments: list[Instrument] = []
        self.live: Any = None

    def declare(self, name: str, kind: Kind, en: str, zh: str, **given: Any) -> Instrument:
        """A new instrument, its name prefixed."""
        instrument = Instrument(name=f"autoscorer_{name}", kind=kind, en=en, zh=zh, **given)
        self.instruments.append(instrument)
        return instrument

    def start(self) -> bool:
        """Measure from now on; False without the extra. May be called again."""
        with _LOCK:
            if self.live is None:
                try:
                    prometheus_client: Any = importlib.import_module("prometheus_client")
                except ModuleNotFoundError:
                    return False
                prometheus_client.disable_created_metrics()  # another series for each, that nobody asks for
                live = prometheus_client.CollectorRegistry()
                prometheus_client.ProcessCollector(registry=live)
                for instrument in self.instruments:
                    instrument._live = _made(prometheus_client, instrument, live)
                self.live = live
            return True


REGISTRY = Registry()


def _made(prometheus_client: Any, instrument: Instrument, registry: Any) -> Any:
    if instrument.at_scrape:
        return None
    given: dict[str, Any] = {"registry": registry}
    if instrument.kind == "histogram":
        given["buckets"] = instrument.buckets
    kinds = {
        "counter": prometheus_client.Counter,
        "gauge": prometheus_client.Gauge,
        "histogram": prometheus_client.Histogram,
    }
    return kinds[instrument.kind](instrument.name, instrument.en, instrument.labels, **given)
