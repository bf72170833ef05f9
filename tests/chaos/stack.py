"""The whole service as it is deployed, each part to be broken: API, workers, Redis, PostgreSQL, Docker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from autoscorer.store.sql_store import SqlStore
from tests.celery_app.line import Line, line_to
from tests.celery_app.process import CeleryWorker, celery_worker, environ_of
from tests.celery_app.redis import RedisServer, free_port, redis_server
from tests.chaos.work import Task
from tests.executor.docker.own_engine import OwnEngine
from tests.store.postgres import Server
from tests.worker.sites import Site, make_site, until

PATIENCE_S = 120.0
PASSING = (429, 502, 503, 504)


@dataclass
class Api:
    """`autoscorer serve`, at the same address whenever it is started again."""

    environ: dict[str, str]
    log: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    changing: threading.Lock = field(default_factory=threading.Lock)
    statuses: set[int] = field(default_factory=set)
    said: int = 0  # how much of the log is of processes before this one

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> None:
        command = [sys.executable, "-m", "autoscorer.cli", "serve", "--port", str(self.port), "--json"]
        self.said = len(self.log.read_text()) if self.log.exists() else 0
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self.environ,
                start_new_session=True,
            )
        if wait:
            until(self.answers, within_s=PATIENCE_S, what="the API answers")

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with suppress(httpx.TransportError):
            return self.ask("GET", "/healthz").status_code == 200
        return False

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        """One request, tried once. Raises httpx.TransportError."""
        token = Path(self.environ["DATA_DIR"]) / "operator.token"
        headers = {"Authorization": f"Bearer {token.read_text().strip()}"} if token.exists() else {}
        with httpx.Client(trust_env=False, timeout=30) as client:
            answer = client.request(
                method, self.url + path, headers={**headers, **given.pop("headers", {})}, **given
            )
        self.statuses.add(answer.status_code)
        return answer

    def asked(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        """The data of an answer, asked again while the service is away, as a client should."""
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self.ask(method, path, **given)
                if answer.status_code not in PASSING:
                    assert answer.status_code < 300, answer.text
                    found: dict[str, Any] = answer.json()["data"]
                    return found
            except httpx.TransportError:
                self.supervise()
            assert time.monotonic() < give_up_at, f"{method} {path} is not answered"
            time.sleep(0.1)

    def submit(self, task: Task, root: Path) -> str:
        """The id of the task's job."""
        headers = {"Idempotency-Key": task.key}
        view = self.asked("POST", "/api/v1/jobs", json=task.asked(root), headers=headers)
        return str(view["task_id"])

    def supervise(self) -> None:
        """Start it again if it has ended by itself: it does when it begins while its database is away, and
        whoever runs it starts it again then."""
        with self.changing:
            if self.process is not None and (code := self.process.poll()) is not None:
                words = "\n" + self.log.read_text()[self.said :]
                assert code > 0, f"the API was ended by signal {-code}: {words}"
                assert "STORE_UNAVAILABLE" in words.rpartition("\n{")[2], words  # the last it said
                self.start(wait=False)

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class Stack:
    """``engine`` is one of its own, or None where the jobs run on the shared one, which nobody breaks."""

    site: Site
    store: SqlStore
    database: Server
    broker: RedisServer
    line: Line
    api: Api
    engine: OwnEngine | None
    environ: dict[str, str]
    closing: ExitStack
    workers: list[CeleryWorker] = field(default_factory=list)
    asleep: dict[int, float] = field(default_factory=dict)
    killed: list[tuple[int, float]] = field(default_factory=list)

    def add_worker(self, *, wait: bool = True) -> None:
        url = f"redis://127.0.0.1:{self.line.port}/0"
        made = celery_worker(self.site, url, "-c", "2", wait=wait, stub=False, environ=self.environ)
        self.workers.append(self.closing.enter_context(made))

    def awake(self) -> list[CeleryWorker]:
        return [worker for worker in self.workers if worker.pid not in self.asleep]

    def wake(self) -> None:
        """Continue the workers that have slept long enough."""
        for worker in self.workers:
            if worker.pid in self.asleep and time.time() > self.asleep[worker.pid]:
                worker.signal(signal.SIGCONT)
                del self.asleep[worker.pid]


@contextmanager
def stack(
    root: Path, database: Server, engine: OwnEngine | None, *, workers: int = 2, **environ_: str
) -> Iterator[Stack]:
    """Everything started; all of it ended with the block, whatever happened to it."""
    with ExitStack() as closing:
        site = make_site(root / "site", database.url())
        closing.callback(site.close)
        (root / "redis").mkdir()
        broker = closing.enter_context(redis_server(root / "redis"))
        line = closing.enter_context(line_to(broker.port))
        more = {
            "WORKER_GRACE": "60",
            "RATE_LIMIT": "0",
            "SERVICE_BACKENDS": '["docker", "local"]',
            "DOCKER_HOST": engine.host if engine else "",
            **environ_,
        }
        environ = {**environ_of(site, f"redis://127.0.0.1:{line.port}/0", **more), "HOME": str(root)}
        environ = {name: value for name, value in environ.items() if value or name != "DOCKER_HOST"}
        api = Api(environ, root / "api.out")
        closing.callback(api.close)
        api.start(wait=False)
        made = Stack(
            site, site.open_store(), database, broker, line, api, engine,
            {name: environ[name] for name in (*more, "HOME") if name in environ}, closing,
        )  # fmt: skip
        for _ in range(workers):
            made.add_worker(wait=False)
        until(api.answers, within_s=PATIENCE_S, what="the API answers")
        for worker in made.workers:
            until(worker.is_ready, within_s=PATIENCE_S, what="the workers are ready")
        yield made
