"""A real Celery worker in a process of its own, whose backend `stub` is `tests.worker.stub`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.worker.sites import Site, until

HASTE = "AUTOSCORER_TEST_HASTE"  # lost messages and silent brokers are noticed within seconds
PATIENT = "patient"  # a value of it: yet no message is taken for lost soon, however slow the machine
UNMENDED = "AUTOSCORER_TEST_UNMENDED"  # Celery's consumer as it comes


def main() -> None:
    """`python -m tests.celery_app.process …`: the arguments of `celery -A celery_app.tasks`."""
    from autoscorer import runtime
    from tests.worker.stub import StubExecutor

    make_executor = runtime.make_executor

    def make(backend: str, *rest: Any) -> Any:
        return StubExecutor() if backend == "stub" else make_executor(backend, *rest)

    # What stubs leave is nothing, and an engine may be missing.
    vars(runtime).update(make_executor=make, _executors_here=lambda _settings: [])
    if os.environ.get(HASTE):
        _hurry()
    if os.environ.get(UNMENDED):
        from autoscorer.queues.redis_transport import Channel
        from celery_app.consumer import Consumer

        setattr(Consumer, "_settle_for_sure", lambda _consumer, _message: None)  # noqa: B010
        setattr(Channel, "ack_emulation", True)  # noqa: B010
    from celery.bin.celery import main as celery

    sys.argv = ["celery", "-A", "celery_app.tasks", *sys.argv[1:]]
    celery()


def _hurry() -> None:
    """Times for a test that waits for them; what follows what is the same."""
    from autoscorer.maintenance import reconcile, release
    from autoscorer.queues import celery_options, releasing

    if os.environ[HASTE] != PATIENT:
        releasing.LOST_AFTER_S = 2.0
    release.EVERY_S = reconcile.EVERY_S = 0.5
    celery_options._HEALTH_S = 2


@dataclass
class CeleryWorker:
    """The parent's side."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.text()
        return " ready." in self.text()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def join(self, within_s: float = 60) -> int:
        return self.process.wait(within_s)

    def end(self) -> None:
        """Whatever it does, and all its children with it."""
        for number in (signal.SIGCONT, signal.SIGKILL):
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                break
        self.process.wait()


def environ_of(site: Site, broker: str, **more: str) -> Mapping[str, str]:
    settings = site.settings
    given = {
        "WORKSPACE_ROOT": str(settings.workspace_root),
        "DATA_DIR": str(settings.data_dir),
        "LOG_DIR": str(site.root / "log"),
        "DATABASE_URL": site.url,
        "CELERY_BROKER": broker,
        "MIN_FREE_DISK": "0",
        "MAX_OUTPUT_BYTES": "1Mi",
        "CACHE_MAX_BYTES": "0",
    }
    return {**os.environ, **given, **more}


@contextmanager
def celery_worker(
    site: Site,
    broker: str,
    *arguments: str,
    wait: bool = True,
    stub: bool = True,
    environ: Mapping[str, str] | None = None,
) -> Iterator[CeleryWorker]:
    """A worker, ready for messages unless ``wait`` is off; killed at the end if it still runs."""
    number = len(list(site.root.glob("worker*.out")))
    log = site.root / f"worker{number}.out"
    program = ["tests.celery_app.process"] if stub else ["celery", "-A", "celery_app.tasks"]
    command = [sys.executable, "-m", *program, "worker", "--loglevel", "INFO", "-n", f"w{number}@test"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=environ_of(site, broker, **(environ or {})),
        )
    worker = CeleryWorker(process, log)
    try:
        if wait:
            until(worker.is_ready, what="the worker is ready")
        yield worker
    finally:
        worker.end()


if __name__ == "__main__":
    main()
