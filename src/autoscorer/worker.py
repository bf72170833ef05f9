"""One claimed job through the pipeline to its end, under its lease."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autoscorer import pipeline, records
from autoscorer.claims import FencedError
from autoscorer.ending import Ending
from autoscorer.executor.base import LEFT_RUNNING, Executor, StopReason
from autoscorer.executor.ownership import Owner
from autoscorer.job import JobContext
from autoscorer.locking import Holder
from autoscorer.records import JobFacts
from autoscorer.scheduler import least_free_bytes, settings_for
from autoscorer.schemas.job import SpecFault, spec_error
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.result_cache import ResultCache
from autoscorer.store.base import Store
from autoscorer.store.leases import Interruption, LeaseKeeper, holding, lease_of
from autoscorer.store.records import Action, Job, Lease
from autoscorer.store.stages import Stages
from autoscorer.telemetry.instruments import WORKER_JOBS
from autoscorer.traces import Trace, Traces
from autoscorer.utils import turns
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import bound, log_event

WAIT_FOR_WORKSPACE_S = 60.0  # for one that somebody works on by hand
_STOPS = {
    Interruption.CANCELLED: StopReason.CANCELLED,
    Interruption.LEASE_LOST: StopReason.LEASE_LOST,
}
MakeExecutor = Callable[[str, Settings], Executor]


class Worker:
    """Works on claimed jobs, each in the calling thread. ``catalog`` scores in processes apart."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        catalog: Catalog,
        worker_id: str,
        *,
        make_executor: MakeExecutor,
        cache: ResultCache | None = None,
    ) -> None:
        self.worker_id = worker_id
        self._settings = settings
        self._store = store
        self._catalog = catalog
        self._make_executor = make_executor
        self._cache = cache
        self._traces = Traces(settings.data_dir)
        self._stopping = threading.Event()

    def hand_over(self) -> None:
        """End every job under way soon, each to be run again by another worker."""
        self._stopping.set()

    def paused(self) -> str | None:
        """Why nothing is to be claimed now: a disk has too little room. None if all is well."""
        return low_disk(self._settings)

    def work(self, job: Job) -> None:
        """Take a job that was claimed to its end. Raises nothing, whatever the job does."""
        lease = lease_of(job)
        stages = Stages(self._store.work, lease)
        try:
            with (
                turns.jobs.taken(),
                bound(task_id=job.task_id, attempt=job.attempt, worker=self.worker_id),
                WORKER_JOBS.held(),
                holding(self._store.work, lease, beside=stages.tell) as keeper,
            ):
                ending = Ending(
                    self._store.work, lease, keeper, is_stopping=self._stopping.is_set, stages=stages
                )

                def begin(stage: str) -> None:
                    self._check_held(lease)
                    stages.begin(stage)

                with _told_always(ending, job):
                    self._work(job, lease, self._context(job, lease, keeper, ending, on_stage=begin))
        except BaseException as exc:  # boundary of a task: one job must not end the worker
            log_event("ERROR", "worker_error", error=exc, task_id=job.task_id, attempt=job.attempt)

    def _work(self, job: Job, lease: Lease, context: JobContext) -> None:
        workspace = workspace_of(job, self._settings)
        trace = Trace(
            task_id=job.task_id,
            attempt=job.attempt,
            owner=Owner.this_process(lease=str(lease)),
            workspace=workspace,
        )
        self._traces.write(trace)
        try:
            _act(context, job, workspace)
        except AutoscorerError as exc:
            # Told, written down, cleaned up; after anything else, or a hand-over, something may be left.
            if not exc.details.get(LEFT_RUNNING):
                self._traces.cross_out(trace)
            raise
        self._traces.cross_out(trace)

    def _context(
        self,
        job: Job,
        lease: Lease,
        keeper: LeaseKeeper,
        ending: Ending,
        *,
        on_stage: Callable[[str], None],
    ) -> JobContext:
        def stop() -> StopReason | None:
            if reason := keeper.stop():
                return _STOPS[reason]
            return StopReason.WORKER_STOPPED if self._stopping.is_set() else None

        give_up_at = time.monotonic() + WAIT_FOR_WORKSPACE_S
        holder = Holder(
            lease=str(lease),
            is_over=self._is_over,
            keep_waiting=lambda: stop() is None and time.monotonic() < give_up_at,
            guard=ending.guard,
        )
        return JobContext(
            settings=settings_for(job.backend or "auto", self._settings),
            catalog=self._catalog,
            cache=self._cache,
            choose=lambda: self._make_executor(job.backend or "auto", self._settings),
            stop=stop,
            on_stage=on_stage,
            holder=holder,
            conclude=ending.conclude,
            attempts=1,
            may_expose_truth=self._settings.allow_truth_in_input,
        )

    def _check_held(self, lease: Lease) -> None:
        """Raise FencedError if another has the job by now: whoever slept must not begin what that one has
        done. A store that does not answer is no reason to; its keeper and the end of the job still fence."""
        try:
            held = self._store.work.look(lease).held
        except AutoscorerError as exc:
            log_event("WARNING", "lease_not_checked", task_id=lease.task_id, code=exc.code)
            return
        if not held:
            raise FencedError(f"the lease of {lease.task_id} is lost")

    def _is_over(self, text: str) -> bool:
        """Whether another holder's lease has ended. What is no lease, or cannot be asked, has not."""
        lease = Lease.parse(text)
        try:
            return lease is not None and not self._store.work.look(lease).held
        except AutoscorerError:
            return False


def _act(context: JobContext, job: Job, workspace: Path) -> None:
    if job.action is Action.RUN:
        pipeline.run(context, workspace)
        return
    do = pipeline.score if job.action is Action.SCORE else pipeline.run_then_score
    do(context, workspace, scorer_name=job.scorer, params=job.params)


@contextmanager
def _told_always(ending: Ending, job: Job) -> Iterator[None]:
    """What ends the block without having been told to the store is told now."""
    try:
        yield
    except FencedError as exc:
        log_event("WARNING", "lease_lost", task_id=job.task_id, attempt=job.attempt, reason=str(exc))
    except AutoscorerError as exc:
        _tell(ending, exc)
    except BaseException as exc:  # boundary of a task: our own fault must be told, and gets no score
        log_event("ERROR", "job_internal_error", error=exc, task_id=job.task_id)
        _tell(ending, AutoscorerError("INTERNAL_ERROR", f"unexpected {type(exc).__name__} in the platform"))


def _tell(ending: Ending, error: AutoscorerError) -> None:
    if ending.job is None:
        ending.conclude(records.failure(error, JobFacts()), error)


def workspace_of(job: Job, settings: Settings) -> Path:
    """The folder of a job's workspace. Raises CONFIG_VALIDATION_ERROR for one outside WORKSPACE_ROOT."""
    if settings.workspace_root is None:
        message = "WORKSPACE_ROOT is not set; the service works on workspaces below it only"
        raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration")
    # As text: as paths it takes twice as long.
    root = os.path.realpath(settings.workspace_root)
    path = Path(os.path.realpath(os.path.join(root, job.workspace)))  # noqa: PTH118
    if not path.is_relative_to(root):
        raise spec_error([SpecFault(job.workspace, "leads out of WORKSPACE_ROOT")], cause="workspace")
    return path


def low_disk(settings: Settings) -> str | None:
    """What is wrong when a disk that jobs write to has less room than it must."""
    needs = least_free_bytes(settings)
    for name, folder in (("workspaces", settings.workspace_root), ("data", settings.data_dir)):
        free = _free_bytes(folder) if folder else None
        if free is not None and free < needs[name]:
            why = "MIN_FREE_DISK, and room twice for the MAX_OUTPUT_BYTES of the next job"
            return f"the disk has {free} bytes free, {needs[name]} are needed ({why})"
    return None


def _free_bytes(folder: Path) -> int | None:
    """What its disk has free; that of the nearest folder above while it is not there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
