"""What every route works with: one frozen object, made from the configuration."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autoscorer import runtime, service_runtime
from autoscorer.access.recent import RecentTokens
from autoscorer.api.streams import Streams
from autoscorer.api.submissions import Submissions
from autoscorer.api.watches import Watches
from autoscorer.intake.homes import Homes
from autoscorer.intake.submitting import Intake
from autoscorer.monitoring.scrape import Scrape
from autoscorer.monitoring.token import metrics_token
from autoscorer.queues.base import Queue
from autoscorer.scorers.catalog import Catalog
from autoscorer.store.base import Store
from autoscorer.utils.config import Settings


@dataclass(frozen=True, kw_only=True)
class Service:
    """The parts of the service that its API uses. ``catalog`` computes nothing in this process.

    ``stopping`` is set by whoever ends the service, so that requests which wait are answered at once.
    ``faults`` says what is wrong with this process, for `/readyz`; ``scrape`` what `/metrics` tells.
    """

    settings: Settings
    store: Store
    tokens: RecentTokens
    queue: Queue
    catalog: Catalog
    homes: Homes
    intake: Intake
    submissions: Submissions
    streams: Streams = field(default_factory=Streams)
    watches: Watches = field(default_factory=Watches)
    stopping: threading.Event = field(default_factory=threading.Event)
    faults: Callable[[], Sequence[str]] = list
    scrape: Scrape
    metrics_token: str = field(repr=False)


def make_service(
    settings: Settings,
    *,
    store: Store,
    queue: Queue,
    catalog: Catalog,
    faults: Callable[[], Sequence[str]] = list,
) -> Service:
    """The service over parts that are open already."""
    homes = Homes(settings, store)
    intake = Intake(
        settings=settings,
        store=store,
        queue=queue,
        catalog=catalog,
        homes=homes,
        backends=("auto", *(name for name in runtime.backend_names() if name in settings.service_backends)),
    )
    return Service(
        settings=settings,
        store=store,
        tokens=RecentTokens(store),
        queue=queue,
        catalog=catalog,
        homes=homes,
        intake=intake,
        submissions=Submissions(intake),
        faults=faults,
        scrape=service_runtime.make_scrape(settings, store, catalog),
        metrics_token=metrics_token(settings),
    )
