"""What dead workers of this machine left: containers, mounts, programs, folders, results not written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from autoscorer.claims import Claim, claim
from autoscorer.ending import result_of
from autoscorer.executor.base import Executor
from autoscorer.executor.ownership import Owner, process_is_alive
from autoscorer.locking import Holder
from autoscorer.maintenance.loop import Duty, of_this_machine
from autoscorer.schemas.result import Result
from autoscorer.store.base import Store
from autoscorer.store.records import Action, Job, JobQuery, Lease
from autoscorer.store.transitions import STATES, JobState
from autoscorer.traces import Trace, Traces
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event
from autoscorer.workspace import Workspace

EVERY_S = 10.0


class Leftovers:
    """``executors`` makes the backends of this machine that can be asked now."""

    def __init__(self, store: Store, data_dir: Path, executors: Callable[[], Sequence[Executor]]) -> None:
        self._store = store
        self._traces = Traces(data_dir)
        self._executors = executors

    def remove(self) -> int:
        """Remove what attempts left whose lease or process is gone; how many attempts there were.

        What cannot be removed now stays noted for the next time.
        """
        self._traces.sweep()
        dead = [trace for trace in self._traces.all() if not self.is_alive(trace.owner)]
        if not dead:
            return 0
        executors = self._executors()
        all_asked = self._reap(executors)
        may_be_adopted = any(executor.adopts for executor in executors)
        for trace in dead:
            # What its next attempt may still take up is noted until the job has ended.
            is_settled = all_asked and not (may_be_adopted and self._is_awaited(trace.owner))
            if self._tidy(trace) and is_settled:
                self._traces.cross_out(trace)
        return len(dead)

    def is_alive(self, owner: Owner) -> bool:
        """Whether its process runs and, if it works under a lease, holds it. In doubt it does."""
        if not process_is_alive(owner):
            return False
        lease = Lease.parse(owner.lease)
        if lease is None:
            return True
        try:
            return self._store.work.look(lease).held
        except AutoscorerError:
            return True

    def _is_awaited(self, owner: Owner) -> bool:
        """Whether its job has not ended, so that another attempt comes. In doubt it does."""
        lease = Lease.parse(owner.lease)
        if lease is None:
            return False
        try:
            job = self._store.jobs.get(lease.task_id)
        except AutoscorerError:
            return True
        return job is not None and not STATES[job.state].final

    def _is_wanted(self, owner: Owner) -> bool:
        """Whether it is alive, or its job's next attempt takes up what it left."""
        return self.is_alive(owner) or self._is_awaited(owner)

    def _reap(self, executors: Sequence[Executor]) -> bool:
        """End what still runs of them. Whether every backend could be asked."""
        all_asked = True
        for executor in executors:
            is_alive = self._is_wanted if executor.adopts else self.is_alive
            try:
                for reaped in executor.reap(is_alive):
                    log_event("WARNING", "orphan_removed", kind=reaped.kind, name=reaped.name)
            except (AutoscorerError, OSError) as exc:
                all_asked = False
                log_event("WARNING", "reap_failed", backend=executor.name, reason=str(exc))
        return all_asked

    def _tidy(self, trace: Trace) -> bool:
        """Whether the workspace is in order: folders gone, the result written down or not ours to write."""
        try:
            workspace = Workspace.open(trace.workspace)
        except AutoscorerError:
            return True  # it is gone
        holder = Holder(is_over=self._is_over)
        try:
            with claim(workspace, holder) as held:  # to claim it is to sweep it
                self._write_down(trace, held)
        except AutoscorerError as exc:
            return exc.code == "WORKSPACE_BUSY"  # who has it now has swept it
        except OSError as exc:
            log_event("WARNING", "leftovers_stay", task_id=trace.task_id, reason=str(exc.strerror))
            return False
        return True

    def _is_over(self, text: str) -> bool:
        lease = Lease.parse(text)
        with suppress(AutoscorerError):
            return lease is not None and not self._store.work.look(lease).held
        return False

    def _write_down(self, trace: Trace, held: Claim) -> None:
        """`result.json` once more from the store, if the workspace's latest job has ended by this attempt."""
        job = self._store.jobs.get(trace.task_id)
        if job is None or not STATES[job.state].final or job.attempt != trace.attempt:
            return
        if job.state is JobState.SUCCEEDED and job.action is Action.RUN:
            return
        query = JobQuery(organisation_id=job.organisation_id, workspace=job.workspace, limit=1)
        if [latest.task_id for latest in self._store.jobs.page(query).jobs] != [job.task_id]:
            return
        result = result_of(job, self._published(job))
        if result is not None:
            held.write_json(_output_dir(held) / "result.json", result.to_json())

    def _published(self, job: Job) -> Result | None:
        stored = self._store.jobs.result(job.task_id)
        if stored is None or not stored.is_of(job.state, job.attempt):
            return None
        return Result.model_validate(dict(stored.body))


def _output_dir(held: Claim) -> Path:
    from autoscorer import staging

    try:
        path = staging.output_dir(held.workspace, held.workspace.load_spec())
    except AutoscorerError:
        path = held.workspace.root / "output"
    path.mkdir(parents=True, exist_ok=True)
    return path


def leftovers_duty(leftovers: Leftovers) -> Duty:
    """`Leftovers.remove` on each machine."""
    return Duty(name=of_this_machine("leftovers"), every_s=EVERY_S, work=leftovers.remove)
