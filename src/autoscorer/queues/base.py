"""The seam between queues and workers: what a queue does for a job, and what it asks of a worker."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from autoscorer.store.records import Job

QUEUES = ("cpu", "gpu", "score")
STUCK_S = 60.0  # from being handed over: a job that has not ended by then is ended with its process


class Queue(Protocol):
    """Tells workers that a job waits. A hint: one that is lost, repeated or made up changes nothing."""

    def announce(self, job: Job) -> None: ...


@runtime_checkable
class Tended(Protocol):
    """A queue that needs looking after by one process, every two seconds or so."""

    def tend(self) -> None:
        """Release what may be released now, and find out what was lost. Raises AutoscorerError."""
        ...


class Works(Protocol):
    """A worker as a queue sees it; `worker.Worker` is one."""

    @property
    def worker_id(self) -> str: ...

    def paused(self) -> str | None:
        """Why nothing is to be claimed now, if there is a reason."""
        ...

    def work(self, job: Job) -> None:
        """Take a claimed job to its end, in this thread. Raises nothing."""
        ...

    def hand_over(self) -> None:
        """End every job under way soon, each to be run again by another worker."""
        ...
