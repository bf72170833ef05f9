"""The embedded queue: claims from the jobs table itself, by need, into as many slots as there are."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from autoscorer.executor.ownership import this_machine
from autoscorer.queues.attendance import Attendance
from autoscorer.queues.base import QUEUES, Works
from autoscorer.store.base import Store
from autoscorer.store.records import Job, Presence
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event

POLL_S = 1.0  # for jobs that another process announced
PAUSE_S = 5.0


class StoreQueue:
    """Of one process: `announce` wakes its `run` at once; other processes find the job by polling."""

    def __init__(self, store: Store, *, queues: Sequence[str] = QUEUES, poll_s: float = POLL_S) -> None:
        self._store = store
        self._queues = tuple(queues)
        self._poll_s = poll_s
        self._bell = threading.Event()
        self._paused: str | None = None
        self._noted = "claiming"

    def announce(self, job: Job) -> None:
        """Look for a job now. Which one is had is the store's decision alone."""
        self._bell.set()

    @property
    def paused(self) -> str | None:
        """Why this process claims nothing at the moment, if it does not."""
        return self._paused

    def run(self, worker: Works, *, slots: int, stop: threading.Event, grace_s: float = 30.0) -> None:
        """Work on up to ``slots`` jobs at once until ``stop`` is set; then within ``grace_s`` they end
        by themselves, or are handed over."""
        presence = Presence(
            worker_id=worker.worker_id, machine=this_machine(), queues=self._queues, slots=slots
        )
        attendance = Attendance(self._store, presence)
        with ThreadPoolExecutor(slots, thread_name_prefix="slot") as pool:
            under_way: set[Future[None]] = set()
            while not stop.is_set():
                under_way = {future for future in under_way if not future.done()}
                self._bell.clear()
                job = self._claim(worker) if len(under_way) < slots else None
                attendance.tell(self._paused)
                if job is None:
                    self._bell.wait(self._pause_s())
                    continue
                future = pool.submit(worker.work, job)
                future.add_done_callback(lambda _future: self._bell.set())
                under_way.add(future)
            attendance.leave()
            _let_end(under_way, grace_s)
            worker.hand_over()

    def wake(self) -> None:
        """Have `run` look at once, at ``stop`` too."""
        self._bell.set()

    def _claim(self, worker: Works) -> Job | None:
        if (reason := worker.paused()) is not None:
            self._note("claiming_paused", reason)
            return None
        try:
            job = self._store.work.claim(queues=self._queues, worker=worker.worker_id)
        except AutoscorerError as exc:
            self._note("claim_failed", exc.message, code=exc.code)
            return None
        self._note("claiming")
        return job

    def _note(self, event: str, reason: str | None = None, *, code: str | None = None) -> None:
        """Log what is news: a change. The reason is none, it has other numbers in it at every look."""
        if event != self._noted:
            log_event("WARNING" if reason else "INFO", event, reason=reason, code=code)
        self._noted, self._paused = event, reason

    def _pause_s(self) -> float:
        """How long until it is worth looking again, unless somebody rings."""
        return self._poll_s if self._paused is None else PAUSE_S


def _let_end(under_way: set[Future[None]], grace_s: float) -> None:
    if under_way:
        wait(under_way, timeout=grace_s)
