"""One job through its stages: run (prepare, execute, judge, harvest) and score (view, evaluate, publish)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autoscorer import records, staging
from autoscorer.executor.base import AttemptPlan, Executor, Limits, RunOutcome, StopReason, StopSignal
from autoscorer.executor.failures import verdict
from autoscorer.harvest import Harvest, HarvestPolicy, harvest
from autoscorer.records import JobFacts
from autoscorer.scheduler import MAX_ATTEMPTS, may_try_again, resolve_limits
from autoscorer.schemas.envelope import Warning_
from autoscorer.schemas.job import JobSpec, SpecFault, spec_error
from autoscorer.schemas.result import Result
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.evaluation import evaluate
from autoscorer.scorers.host import Entry
from autoscorer.scorers.result_cache import ResultCache
from autoscorer.scorers.view import combined_sha256, workspace_view
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import JobLogger, log_event
from autoscorer.validation import exposure_warnings
from autoscorer.workspace import Attempt, Workspace


def _never() -> StopReason | None:
    return None


def _quiet(_stage: str) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """What a job needs from outside. ``choose`` makes the executor; ``on_stage`` hears each stage's name."""

    settings: Settings
    choose: Callable[[], Executor]
    catalog: Catalog
    cache: ResultCache | None = None
    stop: StopSignal = _never
    on_stage: Callable[[str], None] = _quiet
    keep_attempt: bool = False


@dataclass(frozen=True)
class Scored:
    """A job's result, where it is written, and what to be warned of."""

    result: Result
    path: Path
    warnings: list[Warning_]


@dataclass
class _Job:
    """One job under way: what is known of it so far, so that a failure can tell it all."""

    context: JobContext
    workspace: Workspace
    spec: JobSpec
    logger: JobLogger
    facts: JobFacts = field(default_factory=JobFacts)
    staged_s: float = 0.0

    @property
    def output_dir(self) -> Path:
        return staging.output_dir(self.workspace, self.spec)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell of a stage and time it; what a stage within it took is not its own."""
        self.context.on_stage(name)
        started, staged_before_s = time.perf_counter(), self.staged_s
        try:
            yield
        finally:
            own_s = time.perf_counter() - started - (self.staged_s - staged_before_s)
            self.staged_s += own_s
            self.facts.timing[f"{name}_seconds"] = round(own_s, 6)

    def policy(self, stage: str) -> HarvestPolicy:
        return HarvestPolicy(max_bytes=self.context.settings.max_output_bytes, stage=stage)


def run(context: JobContext, workspace_path: str | Path) -> JobFacts:
    """Run the container of a workspace; its predictions end in `output/`. Raises AutoscorerError."""
    with _job(context, workspace_path, stage="execution") as job:
        _execute_until_judged(job)
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
        _job(context, workspace_path, stage="scoring") as job,
        context.catalog.held(scorer_name or job.spec.scorer) as entry,
        _attempt(job) as attempt,
    ):
        return _score(job, attempt, entry, params=params, after_run=False)


def run_then_score(context: JobContext, workspace_path: str | Path) -> Scored:
    """The whole pipeline on one workspace under one lock. Raises AutoscorerError."""
    with (
        _job(context, workspace_path, stage="execution") as job,
        # From the start: a scorer that is loaded while the program runs is for the jobs after this one.
        context.catalog.held(job.spec.scorer) as entry,
    ):
        _execute_until_judged(job)
        with _attempt(job) as attempt:
            return _score(job, attempt, entry)


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
        hidden=(*workspace.truth_paths(), *([shared_root.resolve()] if shared_root else [])),
    )


@contextmanager
def _job(context: JobContext, workspace_path: str | Path, *, stage: str) -> Iterator[_Job]:
    """Lock the workspace and read its spec; whatever fails is written to `result.json` and raised."""
    workspace = Workspace.open(workspace_path)
    with workspace.lock():
        try:
            spec = workspace.load_spec()
            logger = JobLogger(spec.job_id, workspace.root, secrets=context.settings.secrets())
        except AutoscorerError as exc:
            records.write_failure(workspace.root / "output", exc, JobFacts())
            raise
        job = _Job(context, workspace, spec, logger)
        job.facts.begin(spec)
        try:
            job.logger.start(spec.model_dump(mode="json", exclude_none=True))
            job.facts.warnings += exposure_warnings(workspace, spec, context.settings, context.catalog)
            yield job
            job.logger.complete(timing=job.facts.timing)
        except KeyboardInterrupt:
            raise _fail(job, AutoscorerError("CANCELLED", "the job was interrupted", stage=stage)) from None
        except AutoscorerError as exc:
            raise _fail(job, exc) from exc.__cause__
        except BaseException as exc:  # boundary of a job: our own fault must be told, and gets no score
            log_event("ERROR", "job_internal_error", error=exc, job_id=spec.job_id)
            message = f"unexpected {type(exc).__name__} in the platform"
            raise _fail(job, AutoscorerError("INTERNAL_ERROR", message, stage=stage)) from exc


def _fail(job: _Job, error: AutoscorerError) -> AutoscorerError:
    job.logger.error(str(error.stage), error.code, error.message, error.details)
    try:
        output_dir = job.output_dir
    except AutoscorerError:
        output_dir = job.workspace.root / "output"
    records.write_failure(output_dir, error, job.facts)
    return error


@contextmanager
def _attempt(job: _Job) -> Iterator[Attempt]:
    """A folder for this try; removed in the end unless it is to be kept."""
    attempt = job.workspace.new_attempt()
    try:
        yield attempt
    finally:
        if not job.context.keep_attempt:
            _discard(job, attempt)


def _execute_until_judged(job: _Job) -> None:
    """Run the program; what failed by the platform's fault is tried again, what it did itself never."""
    for tries in range(1, MAX_ATTEMPTS + 1):
        try:
            with _attempt(job) as attempt:
                job.facts.provenance["attempt"] = attempt.name
                _execute(job, attempt)
            return
        except AutoscorerError as exc:
            if not may_try_again(exc, tries=tries):
                raise
            job.logger.record("job_retried", {"code": exc.code, "tries": tries}, level="WARNING")


def _discard(job: _Job, attempt: Attempt) -> None:
    """What cannot be cleaned up must not decide the job: a program could bring that about."""
    try:
        attempt.discard()
    except OSError as exc:
        message = f".attempts/{attempt.name} could not be removed ({exc.strerror})"
        job.facts.warnings.append(Warning_(code="CLEANUP_INCOMPLETE", message=message))
        job.logger.warning("CLEANUP_INCOMPLETE", message)  # noqa: PLE1205 - not a logging.Logger


def _execute(job: _Job, attempt: Attempt) -> None:
    """Run the program, judge how it ended, and take its output."""
    records.clear_inspect(job.workspace)
    with job.stage("prepare"):
        attempt_plan = plan(job.context, job.workspace, job.spec, attempt)
        _check_room(attempt.root, attempt_plan.limits)
        executor = job.context.choose()
    fresh = attempt.root / "harvest"
    taken = Harvest()
    ended: RunOutcome | None = None

    def collect(folder: Path, outcome: RunOutcome) -> None:
        nonlocal taken, ended
        ended = outcome
        job.facts.note_outcome(outcome)
        _record_run(job, outcome)
        failure = verdict(outcome, attempt_plan.limits)
        if failure is not None:
            raise failure
        with job.stage("harvest"):
            taken = harvest(folder, fresh, job.policy("execution"))

    try:
        with job.stage("execute"):
            executor.run(attempt_plan, stop=job.context.stop, on_event=_logged(job), collect=collect)
    except BaseException as exc:  # clean-up, then up it goes
        if isinstance(exc, AutoscorerError):
            with suppress(OSError):  # a record that cannot be written does not decide the job
                records.write_inspect(job.workspace, attempt_plan, exc, ended)
        # What stands in output/ must be of this attempt: an old prediction is never scored for a new run.
        if fresh.exists():
            fresh.rename(attempt.root / "refused")
        fresh.mkdir()
        attempt.publish(fresh, job.output_dir)
        raise
    attempt.publish(fresh, job.output_dir)
    job.facts.note_harvest(taken)
    records.write_run_info(job.workspace, job.facts, combined_sha256(taken.sha256))


def _check_room(folder: Path, limits: Limits) -> None:
    """Raise RESOURCE_UNAVAILABLE unless the output the job may write fits twice: written, and taken.

    So a program that fills the disk has written more than it may, and cannot make us run out.
    """
    free, needed = shutil.disk_usage(folder).free, 2 * limits.output_bytes
    if free < needed:
        raise AutoscorerError(
            "RESOURCE_UNAVAILABLE",
            f"the workspace's disk has {free} bytes free; a job that may write {limits.output_bytes} bytes "
            f"(MAX_OUTPUT_BYTES) needs {needed}",
            {"free_bytes": free, "needed_bytes": needed, "setting": "MAX_OUTPUT_BYTES"},
        )


def _record_run(job: _Job, outcome: RunOutcome) -> None:
    job.logger.execution_completed(
        duration_seconds=outcome.duration_s, exit_code=outcome.exit_code, stopped=outcome.stopped
    )
    records.write_run_info(job.workspace, job.facts, None)


def _logged(job: _Job) -> Callable[[str, Mapping[str, Any]], None]:
    def on_event(name: str, info: Mapping[str, Any]) -> None:
        if name == "execution_started":
            job.logger.execution_start(str(info.get("backend", "unknown")), dict(info))
        else:
            job.logger.record(name, info)

    return on_event


def _score(
    job: _Job,
    attempt: Attempt,
    entry: Entry,
    *,
    params: Mapping[str, Any] | None = None,
    after_run: bool = True,
) -> Scored:
    """Evaluate a copy of the output and publish the result beside the original."""
    job.facts.provenance |= {"scorer": entry.card.name, "version": entry.card.version}
    chosen = dict(params) if params is not None else dict(job.spec.scorer_params)
    job.logger.scoring_start(entry.card.name, {"version": entry.card.version, "params": chosen})
    with job.stage("view"):
        view = workspace_view(job.workspace, job.output_dir, attempt.root / "view", job.policy("scoring"))
    if not after_run:
        job.facts.adopt_run(records.read_run_info(job.workspace), combined_sha256(view.delivered.sha256))
    with job.stage("score"):
        provenance, cache = job.facts.provenance, job.context.cache
        result = evaluate(job.context.catalog, entry, view, chosen, provenance, cache=cache)
    result = result.model_copy(
        update={
            "timing": job.facts.timing | result.timing,
            "resources": job.facts.resources | result.resources,
        }
    )
    result = records.publish_artifacts(result, view.root / "output", job.output_dir)
    records.publish_result(result, job.output_dir)
    job.logger.scoring_completed(duration_seconds=job.facts.timing["score_seconds"], summary=result.summary)
    return Scored(result, job.output_dir / "result.json", job.facts.warnings)


def facts_as_data(facts: JobFacts) -> dict[str, Any]:
    """The facts of a run for an answer."""
    return {key: value for key, value in asdict(facts).items() if key != "warnings"}
