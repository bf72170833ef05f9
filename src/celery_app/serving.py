"""What one worker process does beside Celery: takes jobs under leases, keeps house, says that it is there."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from celery.exceptions import Reject

from autoscorer import runtime, service_runtime
from autoscorer.executor.ownership import this_machine
from autoscorer.maintenance.loop import Maintenance
from autoscorer.queues import releasing
from autoscorer.queues.base import STUCK_S, Queue
from autoscorer.store.base import Store
from autoscorer.store.records import Action, Job, Presence
from autoscorer.utils import turns
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event
from celery_app.tap import Tap

# A message is on its way for three seconds, or while the broker has it: then it gets more time again.
STILL_ON_ITS_WAY = 0.9
REPORT_EVERY_S, PRESENT_FOR_S = 5.0, 20.0
_NO_SUCH_JOB = "it names no such job"

_current: Serving | None = None


def current() -> Serving:
    """This process's. Raises RuntimeError in a process that is no worker."""
    if _current is None:
        raise RuntimeError("this process is no worker; start one with `celery -A celery_app.tasks worker`")
    return _current


def is_begun() -> bool:
    """Whether this process is a worker by now."""
    return _current is not None


def begin(settings: Settings, *, queues: Sequence[str], slots: int, tap: Tap) -> Serving:
    """Start it. Raises AutoscorerError when the store cannot be opened."""
    global _current  # noqa: PLW0603 - Celery's tasks are functions of a module
    _current = Serving(settings, queues=queues, slots=slots, tap=tap)
    _current.start()
    return _current


class Serving:
    """``tap`` is where messages come from; it is closed while nothing may be claimed."""

    def __init__(self, settings: Settings, *, queues: Sequence[str], slots: int, tap: Tap) -> None:
        self._settings = settings
        self._tap = tap
        self._closing = ExitStack()
        self._stop = threading.Event()
        self._under_way = 0
        self._changed = threading.Condition()
        self._store: Store = service_runtime.open_store(settings)
        self._closing.callback(self._store.close)
        catalog = self._closing.enter_context(runtime.open_catalog(settings, isolate=True, warm=True))
        self._closing.enter_context(service_runtime.worker_metrics(settings, self._store, catalog))
        self._worker = service_runtime.make_worker(settings, self._store, catalog)
        self._queue: Queue = service_runtime.make_queue(settings, self._store)
        self._presence = Presence(
            worker_id=self._worker.worker_id, machine=this_machine(), queues=tuple(queues), slots=slots
        )
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to keep house and to say that this worker is there."""
        duties = service_runtime.maintenance_duties(self._settings, self._store, self._queue)
        maintenance = Maintenance(self._store, duties)
        for name, work in (("maintenance", lambda: maintenance.run(self._stop)), ("presence", self._report)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def take(self, task_id: str, action: Action) -> None:
        """Claim the job that a message names and take it to its end; what cannot be claimed is nothing.

        Raises Reject to put the message back, when this worker may not claim anything.
        """
        with self._changed:
            if self._stop.is_set():
                raise Reject("this worker stops", requeue=True)
            self._under_way += 1
        try:
            with turns.jobs.taken():
                if reason := self._worker.paused():
                    self._pause(reason)
                    raise Reject(reason, requeue=True)
                job = self._claim(task_id, action)
                while job is not None:
                    if self._has_room():
                        self._queue.announce(job)
                    self._worker.work(job)
                    job = self._next()
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _has_room(self) -> bool:
        with self._changed:
            return self._under_way < self._presence.slots

    def _next(self) -> Job | None:
        """The next job, from the store itself, unless a message brings one; without the way over the broker,
        on which a slot has nothing to do."""
        if self._stop.is_set() or self._worker.paused():
            return None
        try:
            return self._store.work.claim(
                queues=self._presence.queues,
                worker=self._worker.worker_id,
                unless_released_s=releasing.LOST_AFTER_S * STILL_ON_ITS_WAY,
            )
        except AutoscorerError as exc:
            log_event("WARNING", "claim_failed", code=exc.code, reason=exc.message)
            return None

    def _claim(self, task_id: str, action: Action) -> Job | None:
        """The job, if it is one of this task and of these queues, and still to be had."""

        def fits(job: Job) -> bool:
            return job.action is action and job.queue in self._presence.queues

        try:
            job = self._store.work.claim_job(task_id, worker=self._worker.worker_id, fits=fits)
            if job is None:
                found = self._store.jobs.get(task_id)
                if found is None or not fits(found):
                    log_event("WARNING", "message_dropped", reason=_NO_SUCH_JOB, task_id=task_id)
                else:
                    log_event("INFO", "message_repeated", task_id=task_id, state=found.state)
            return job
        except AutoscorerError as exc:
            if exc.code == "NOT_FOUND":
                log_event("WARNING", "message_dropped", reason=_NO_SUCH_JOB, task_id=task_id)
                return None
            # The job is there, its message will be sent again.
            log_event("WARNING", "claim_failed", task_id=task_id, code=exc.code, reason=exc.message)
            return None

    def _pause(self, reason: str | None) -> None:
        """Note it, and move the tap, in one step: the last who looked must have moved it last."""
        with self._changed:
            was_paused = self._presence.paused is not None
            if reason is None and was_paused:
                self._tap.open()
                log_event("INFO", "claiming")
            elif reason is not None and not was_paused:
                self._tap.close()
                log_event("WARNING", "claiming_paused", reason=reason)
            # Last: a tap that could not be moved is moved the next time. The reason's numbers always change.
            self._presence = replace(self._presence, paused=reason)

    def _report(self) -> None:
        """Until told to stop: look whether jobs may be claimed, and say that this worker is there."""
        while not self._stop.is_set():
            try:
                self._pause(self._worker.paused())
                self._store.workers.report(self._presence, lease_s=PRESENT_FOR_S)
            except AutoscorerError as exc:
                log_event("WARNING", "presence_not_told", code=exc.code, reason=exc.message)
            except BaseException as exc:  # boundary of a task: it must be told again in any case
                log_event("ERROR", "presence_not_told", error=exc)
            self._stop.wait(REPORT_EVERY_S)

    def stop_soon(self) -> None:
        """Claim nothing more; what is under way ends within WORKER_GRACE or is handed over. Does not wait."""
        if not self._stop.is_set():
            self._stop.set()
            threading.Thread(target=self._hand_over, name="handing over", daemon=True).start()

    def _hand_over(self) -> None:
        self._leave()
        if self._idle_within(self._settings.worker_grace_s):
            return
        log_event("INFO", "handing_over", jobs=self._under_way)
        self._worker.hand_over()
        if not self._idle_within(STUCK_S):
            log_event("ERROR", "worker_stuck", jobs=self._under_way)
            os._exit(1)  # their leases run out, their traces tell what they left

    def _idle_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._under_way == 0, timeout=seconds)

    def _leave(self) -> None:
        try:
            self._store.workers.leave(self._presence.worker_id)
        except AutoscorerError as exc:  # its time runs out by itself
            log_event("WARNING", "presence_not_told", code=exc.code, reason=exc.message)

    def close(self) -> None:
        """Leave everything as it was found; jobs under way have ended."""
        self.stop_soon()
        for thread in self._threads:
            thread.join(15.0)
        self._leave()
        self._closing.close()
