"""When a worker's own work begins and ends: tied to Celery's signals."""

from __future__ import annotations

import signal
from typing import Any

from celery import Celery, signals
from celery.concurrency.thread import TaskPool

from autoscorer.confine.namespaces import attempt, hide_memory
from autoscorer.utils.config import Config, Settings
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import configure_service_log
from celery_app import serving
from celery_app.tap import Tap


def attach(app: Celery) -> None:
    """Have workers of ``app`` begin and end with Celery's. Other applications are left alone."""

    def of_ours(sender: Any) -> bool:
        return getattr(sender, "app", None) is app

    @signals.worker_init.connect(weak=False)
    def begin(sender: Any, **_: Any) -> None:
        if of_ours(sender):
            _begin(sender)

    @signals.worker_ready.connect(weak=False)
    def ready(sender: Any, **_: Any) -> None:
        if of_ours(sender):  # Ctrl-C and SIGQUIT would end a job's thread, which no thread can bear
            for number in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.getsignal(signal.SIGTERM))

    @signals.worker_shutting_down.connect(weak=False)
    def stop(**_: Any) -> None:
        if serving.is_begun():
            serving.current().stop_soon()

    @signals.worker_shutdown.connect(weak=False)
    def end(sender: Any, **_: Any) -> None:
        if of_ours(sender) and serving.is_begun():
            serving.current().close()


def settings() -> Settings:
    """What is configured. Raises SystemExit, which Celery's command shows as it is."""
    try:
        found = Config().settings
    except AutoscorerError as exc:
        raise SystemExit(f"{exc.code}: {exc.message}") from exc
    if found.celery_broker is None:
        raise SystemExit("CELERY_BROKER is not set: e.g. CELERY_BROKER=redis://localhost:6379/0")
    return found


def _begin(controller: Any) -> None:
    """Raises SystemExit with what is wrong and what to do."""
    if controller.pool_cls not in ("threads", TaskPool):
        raise SystemExit("AutoScorer's jobs run in threads: leave out -P, or give -P threads")
    found = settings()
    attempt(hide_memory)  # /proc/PID/environ holds what scorers, of the same user in a pod, must not read
    configure_service_log(found)
    queues = tuple(controller.app.amqp.queues.consume_from)
    slots = int(controller.concurrency)
    try:
        serving.begin(found, queues=queues, slots=slots, tap=Tap(controller, queues))
    except AutoscorerError as exc:
        raise SystemExit(f"{exc.code}: {exc.message}") from exc
