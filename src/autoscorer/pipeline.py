"""One job through its stages: run (prepare, execute, judge, harvest) and score (view, evaluate, publish)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoscorer import records, staging
from autoscorer.executor.base import AttemptPlan, Limits, RunOutcome, StopReason
from autoscorer.executor.failures import verdict
from autoscorer.executor.nodes.placed import AWAITED, CHOSEN
from autoscorer.harvest import Harvest
from autoscorer.job import JobContext, JobUnderWay, under_way
from autoscorer.records import JobFacts
from autoscorer.reports.pictures import NOT_DRAWN, add_pictures
from autoscorer.scheduler import may_try_again, resolve_limits, room_for
from autoscorer.schemas.envelope import Warning_
from autoscorer.schemas.job import JobSpec, SpecFault, spec_error
from autoscorer.schemas.result import Result
from autoscorer.scorers.evaluation import evaluate
from autoscorer.scorers.handover import FOLDER
from autoscorer.scorers.host import Entry, IsStopped
from autoscorer.scorers.view import ScoringView, combined_sha256, workspace_view
from autoscorer.utils import turns
from autoscorer.utils.errors import AutoscorerError
from autoscorer.workspace import Attempt, Workspace


@dataclass(frozen=True)
class Scored:
    """A job's result, where it is written, and what to be warned of."""

    result: Result
    path: Path
    warnings: list[Warning_]


def run(context: JobContext, workspace_path: str | Path) -> JobFacts:
    """Run the container of a workspace; its predictions end in `output/`. Raises AutoscorerError."""
    with under_way(context, workspace_path, stage="execution") as job:
        _execute_until_judged(job)
        job.conclude(records.run_result(job.facts))
        return job.facts


def score(
    context: JobContext,
    workspace_path: str | Path,
    *,
    scorer_name: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> Scored:
    """Score what is in `output/`; `result.json` is written there. Raises AutoscorerError."""
    with (
        under_way(context, workspace_path, stage="scoring") as job,
        _scorer(context, scorer_name or job.spec.scorer) as entry,
        job.attempt() as attempt,
    ):
        return _score(job, attempt, entry, params=params, after_run=False)


def run_then_score(
    context: JobContext,
    workspace_path: str | Path,
    *,
    scorer_name: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> Scored:
    """The whole pipeline on one workspace under one lock. Raises AutoscorerError."""
    with (
        under_way(context, workspace_path, stage="execution") as job,
        # From the start: a scorer that is loaded while the program runs is for the jobs after this one.
        _scorer(context, scorer_name or job.spec.scorer) as entry,
    ):
        with _stoppable(job) as is_stopped:  # no program runs for what cannot be scored
            context.catalog.check_params(entry, _chosen(job, params), is_stopped=is_stopped)
        _execute_until_judged(job)
        job.current = "scoring"
        with job.attempt() as attempt:
            return _score(job, attempt, entry, params=params)


def plan(
    context: JobContext, workspace: Workspace, spec: JobSpec, attempt: Attempt | None = None
) -> AttemptPlan:
    """What would run: a look at spec, settings and folders.

    Raises CONFIG_VALIDATION_ERROR, LIMIT_EXCEEDED.
    """
    if spec.container is None:
        raise spec_error([SpecFault("container", "is required to run", "without it, use `score`")])
    staging.output_dir(workspace, spec)
    shared_root = context.settings.workspace_root
    return AttemptPlan(
        job_id=spec.job_id,
        attempt_id=attempt.name if attempt else "none",
        image=spec.container.image,
        command=tuple(spec.container.cmd),
        env=dict(spec.container.env),
        limits=resolve_limits(spec, context.settings),
        input_dir=staging.input_dir(workspace, spec, shared_root=shared_root),
        spec_path=workspace.spec_path,
        attempt_dir=attempt.root if attempt else workspace.attempts_dir / "none",
        logs_dir=workspace.logs_dir,
        network=spec.container.network_policy or "none",
        lease=context.holder.lease,
        hidden=(*workspace.truth_paths(), *([shared_root.resolve()] if shared_root else [])),
    )


@contextmanager
def _scorer(context: JobContext, name: str) -> Iterator[Entry]:
    """The scorer, held. One that a job was accepted with and that is not here, the operator forgot."""
    with ExitStack() as stack:
        try:
            entry = stack.enter_context(context.catalog.held(name))
        except AutoscorerError as exc:
            is_accepted = context.holder.lease != "" and "@" in name
            if exc.code != "SCORER_NOT_FOUND" or exc.cause or not is_accepted:
                raise
            message = f"this machine has no scorer {name}, with which the job was accepted on another"
            raise AutoscorerError(exc.code, message, exc.details, cause="not_on_this_machine") from exc
        yield entry


def _execute_until_judged(job: JobUnderWay) -> None:
    """Run the program; what failed by the platform's fault is tried again, what it did itself never."""
    for tries in range(1, job.context.attempts + 1):
        try:
            with job.attempt() as attempt:
                job.facts.provenance["attempt"] = attempt.name
                _execute(job, attempt)
            return
        except AutoscorerError as exc:
            if not may_try_again(exc, tries=tries, allowed=job.context.attempts):
                raise
            job.logger.record("job_retried", {"code": exc.code, "tries": tries}, level="WARNING")


def _execute(job: JobUnderWay, attempt: Attempt) -> None:
    """Run the program, judge how it ended, and take its output."""
    records.begin_run(job.claim, job.context.holder.lease)
    with job.stage("prepare"):
        attempt_plan = plan(job.context, job.workspace, job.spec, attempt)
        _check_room(attempt.root, attempt_plan.limits)
        executor = job.context.choose()
    fresh = attempt.root / "harvest"
    taken = Harvest()
    ended: RunOutcome | None = None

    def collect(_folder: Path, outcome: RunOutcome) -> None:
        nonlocal taken, ended
        job.claim.guard()
        ended = outcome
        job.facts.note_outcome(outcome)
        _record_run(job, outcome)
        failure = verdict(outcome, attempt_plan.limits)
        if failure is not None:
            raise failure
        with job.stage("harvest"):
            taken = executor.take_output(attempt_plan, fresh, job.policy("execution"))

    try:
        with turns.jobs.aside(), job.stage("execute"):
            executor.run(attempt_plan, stop=job.context.stop, on_event=_logged(job), collect=collect)
    except BaseException as exc:  # clean-up, then up it goes
        if isinstance(exc, AutoscorerError):
            with suppress(OSError):  # a record that cannot be written does not decide the job
                records.write_inspect(job.claim, attempt_plan, exc, ended)
        # What stands in output/ must be of this attempt: an old prediction is never scored for a new run.
        if fresh.exists():
            fresh.rename(attempt.root / "refused")
        fresh.mkdir()
        job.claim.publish(attempt, fresh, job.output_dir)
        raise
    job.claim.publish(attempt, fresh, job.output_dir)
    job.facts.note_harvest(taken)
    records.write_run_info(job.claim, job.facts, combined_sha256(taken.sha256))


def _check_room(folder: Path, limits: Limits) -> None:
    """Raise RESOURCE_UNAVAILABLE unless the disk has the room that the job's output needs."""
    free, needed = shutil.disk_usage(folder).free, room_for(limits.output_bytes)
    if free < needed:
        raise AutoscorerError(
            "RESOURCE_UNAVAILABLE",
            f"the workspace's disk has {free} bytes free; a job that may write {limits.output_bytes} bytes "
            f"(MAX_OUTPUT_BYTES) needs {needed}",
            {"free_bytes": free, "needed_bytes": needed, "setting": "MAX_OUTPUT_BYTES"},
            cause="disk",
        )


def _record_run(job: JobUnderWay, outcome: RunOutcome) -> None:
    job.logger.execution_completed(
        duration_seconds=outcome.duration_s, exit_code=outcome.exit_code, stopped=outcome.stopped
    )
    records.write_run_info(job.claim, job.facts, None)


def _logged(job: JobUnderWay) -> Callable[[str, Mapping[str, Any]], None]:
    def on_event(name: str, info: Mapping[str, Any]) -> None:
        if name == AWAITED:
            job.context.on_stage("wait_for_node")
        elif name == CHOSEN:
            job.context.on_stage("execute")
        if name == "execution_started":
            job.logger.execution_start(str(info.get("backend", "unknown")), dict(info))
        else:
            job.logger.record(name, info)

    return on_event


def _chosen(job: JobUnderWay, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """The scorer's parameters: those given, else the specification's."""
    return dict(job.spec.scorer_params if params is None else params)


def _score(
    job: JobUnderWay,
    attempt: Attempt,
    entry: Entry,
    *,
    params: Mapping[str, Any] | None = None,
    after_run: bool = True,
) -> Scored:
    """Evaluate a copy of the output and publish the result beside the original."""
    job.facts.provenance |= {"scorer": entry.card.name, "version": entry.card.version}
    chosen = _chosen(job, params)
    job.logger.scoring_start(entry.card.name, {"version": entry.card.version, "params": chosen})
    with job.stage("view"):
        view = workspace_view(job.workspace, job.output_dir, attempt.root / "view", job.policy("scoring"))
    if view.delivered.reserved:
        job.facts.warn_of_reserved(records.not_ours(job.output_dir))
    if not after_run:
        job.facts.adopt_run(records.read_run_info(job.workspace), combined_sha256(view.delivered.sha256))
    with job.stage("score"):
        result = _evaluated(job, entry, view, chosen)
    result = records.publish_artifacts(result, view.root / "output", job.claim.desk)
    if job.context.plots:
        with job.stage("plots"):
            result, doubts = add_pictures(result, job.claim.desk)
        job.facts.warnings += [Warning_(code=NOT_DRAWN, message=doubt) for doubt in doubts]
    result = result.model_copy(
        update={
            "timing": job.facts.timing | result.timing,
            "resources": job.facts.resources | result.resources,
        }
    )
    job.logger.scoring_completed(duration_seconds=job.facts.timing["score_seconds"], summary=result.summary)
    concluded = job.conclude(result)
    if concluded is None:
        return Scored(result, job.output_dir / "result.json", job.facts.warnings)
    _put_artifacts(job)
    return Scored(result, job.write_result(concluded), job.facts.warnings)


def _put_artifacts(job: JobUnderWay) -> None:
    prepared, artifacts = job.claim.desk / FOLDER, job.output_dir / FOLDER
    if prepared.exists():
        job.claim.put(prepared, artifacts)
    else:
        job.claim.remove(artifacts)


def _evaluated(job: JobUnderWay, entry: Entry, view: ScoringView, params: Mapping[str, Any]) -> Result:
    """The scorer's result."""
    with _stoppable(job) as is_stopped:
        return evaluate(
            job.context.catalog,
            entry,
            view,
            params,
            job.facts.provenance,
            cache=job.context.cache,
            is_stopped=is_stopped,
        )


@contextmanager
def _stoppable(job: JobUnderWay) -> Iterator[IsStopped]:
    """A scorer is ended as a program is: by a cancel, a worker that stops, a lost lease."""
    stop = job.context.stop
    try:
        yield lambda: stop() is not None
    except AutoscorerError as exc:
        if exc.code == "CANCELLED" and stop() is StopReason.WORKER_STOPPED:
            message = "The worker was told to stop before the scorer had ended."
            raise AutoscorerError("WORKER_STOPPED", message) from exc
        raise


def facts_as_data(facts: JobFacts) -> dict[str, Any]:
    """The facts of a run for an answer."""
    return {key: value for key, value in asdict(facts).items() if key != "warnings"}
