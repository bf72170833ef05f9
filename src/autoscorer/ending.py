"""How a job's end is told to the store, once and under its lease, and what `result.json` says of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from autoscorer import records
from autoscorer.claims import FencedError
from autoscorer.executor.base import LEFT_RUNNING
from autoscorer.records import JobFacts
from autoscorer.schemas.result import Result
from autoscorer.store.base import Work
from autoscorer.store.leases import Interruption, LeaseKeeper
from autoscorer.store.moves import LeaseLostError
from autoscorer.store.records import Job, JsonObject, Lease
from autoscorer.store.stages import Stages
from autoscorer.store.transitions import STATES, JobState
from autoscorer.utils.errors import AutoscorerError, Blame

PATIENCE_S = 120.0  # for a store that does not answer; what cannot be told by then is the reconciler's
_RETRY_S = 0.5
_DELAYS_S = {"WORKER_STOPPED": 0.0, "RESOURCE_UNAVAILABLE": 60.0}
_DELAY_S = 5.0


class Ending:
    """The end of one attempt, and with it the stages that were not told before. ``is_stopping`` says
    whether its worker was told to stop.

    ``job`` is how the job stands after it was told; None before. Telling twice changes nothing.
    """

    def __init__(
        self,
        work: Work,
        lease: Lease,
        keeper: LeaseKeeper,
        *,
        is_stopping: Callable[[], bool],
        stages: Stages | None = None,
    ) -> None:
        self._work = work
        self._stages = stages
        self._lease = lease
        self._keeper = keeper
        self._is_stopping = is_stopping
        self._published: Result | None = None
        self.job: Job | None = None

    def guard(self) -> None:
        """Raise FencedError when the lease is lost. After the end there is none; the claim still fences."""
        if self.job is None and self._keeper.stop() is Interruption.LEASE_LOST:
            raise FencedError(f"the lease of {self._lease.task_id} is lost")

    def conclude(self, result: Result, error: AutoscorerError | None) -> Result | None:
        """See `job.JobContext.conclude`."""
        if self.job is None:
            self.job = self._insist(lambda: self._tell(result, error))
            self._published = result
        return result_of(self.job, self._published)

    def _tell(self, result: Result, error: AutoscorerError | None) -> Job:
        notes = self._stages.untold() if self._stages else ()
        if error is None:
            return self._work.succeed(self._lease, result=result.to_json(), notes=notes)
        told = error.to_dict(logs_path="logs/")
        if error.details.get(LEFT_RUNNING):
            return self._work.hand_over(self._lease, error=told, notes=notes)
        if goes_again(error, is_stopping=self._is_stopping()):
            delay_s = _DELAYS_S.get(error.code, _DELAY_S * self._lease.attempt)
            return self._work.give_back(self._lease, error=told, delay_s=delay_s, notes=notes)
        return self._work.fail(self._lease, error=told, result=result.to_json(), notes=notes)

    def _insist(self, tell: Callable[[], Job]) -> Job:
        """The store's answer, however long it is away, within reason: a score is not thrown away for that."""
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                return tell()
            except LeaseLostError as exc:
                raise FencedError(str(exc)) from exc
            except AutoscorerError as exc:
                if exc.code != "STORE_UNAVAILABLE" or time.monotonic() >= give_up_at:
                    raise FencedError(f"the end of {self._lease.task_id} could not be told") from exc
            threading.Event().wait(_RETRY_S)


def goes_again(error: AutoscorerError, *, is_stopping: bool) -> bool:
    """Whether a job that ended so gets another attempt by itself: never by what a program can bring about."""
    if error.code == "WORKER_STOPPED" or (is_stopping and error.code == "WORKSPACE_BUSY"):
        return True
    tried_already = "tries" in error.details  # with back-off: see `scheduler.may_try_again`
    return error.retryable and error.blame in (Blame.PLATFORM, Blame.OPERATOR) and not tried_already


def result_of(job: Job, published: Result | None) -> Result | None:
    """What `result.json` is to hold when the job stands so; None while it has not ended."""
    if not STATES[job.state].final:
        return None
    if job.state is JobState.SUCCEEDED or (
        published and published.error and _same(published.error, job.error)
    ):
        return published
    told = job.error or AutoscorerError("INTERNAL_ERROR", "The job ended without an error.").to_dict()
    error = AutoscorerError(str(told["code"]), str(told["message"]))
    return records.failure(error, JobFacts()).model_copy(update={"error": dict(told)})


def _same(one: JsonObject, other: JsonObject | None) -> bool:
    return other is not None and one.get("code") == other.get("code")
