"""The stages of an attempt: told to the store when one lasts, and all others with the attempt's end.

A score of a few milliseconds has two stages; a transaction for each took as long as its claim.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from autoscorer.store.base import Work
from autoscorer.store.moves import LeaseLostError
from autoscorer.store.records import Lease, Note
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event

EVENT = "stage_started"


class Stages:
    """Safe to use from several threads: one begins stages, another has them told meanwhile."""

    def __init__(self, work: Work, lease: Lease, *, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._work = work
        self._lease = lease
        self._elapsed = elapsed
        self._telling = threading.Lock()
        self._untold: list[tuple[str, float]] = []
        self._ended = False

    def begin(self, stage: str) -> None:
        """Note that ``stage`` begins now. Never waits."""
        self._untold.append((stage, self._elapsed()))

    def tell(self) -> None:
        """Tell the store what it has not heard yet. Never raises: of a lost lease its keeper hears, and a
        stage that nobody hears of is no reason to fail a job."""
        with self._telling:
            try:
                while self._untold and not self._ended:
                    stage, at_s = self._untold[0]
                    ago_s = self._elapsed() - at_s
                    self._work.note(
                        self._lease, event=EVENT, facts={"stage": stage}, stage=stage, ago_s=ago_s
                    )
                    del self._untold[0]
            except LeaseLostError:
                self._ended = True
            except AutoscorerError as exc:
                log_event("WARNING", "stage_not_noted", task_id=self._lease.task_id, code=exc.code)

    def untold(self) -> Sequence[Note]:
        """What the store is to be told with the end. From now on `tell` tells nothing."""
        with self._telling:
            self._ended = True
            now_s = self._elapsed()
            return [
                Note(name=EVENT, facts={"stage": stage}, ago_s=now_s - at_s) for stage, at_s in self._untold
            ]
