"""One job under way: what it needs from outside, its claim on the workspace, how its end is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from autoscorer import records, staging
from autoscorer.claims import Claim, FencedError, claim
from autoscorer.executor.base import Executor, StopReason, StopSignal
from autoscorer.harvest import HarvestPolicy
from autoscorer.locking import Holder
from autoscorer.records import JobFacts
from autoscorer.scheduler import MAX_ATTEMPTS
from autoscorer.schemas.envelope import Warning_
from autoscorer.schemas.job import JobSpec, SpecFault, spec_error
from autoscorer.schemas.result import Result
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.handover import FOLDER
from autoscorer.scorers.result_cache import ResultCache
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError, disk_full
from autoscorer.utils.logger import JobLogger, log_event
from autoscorer.validation import exposure_warnings
from autoscorer.workspace import Attempt, Glimpse, Workspace

Conclude = Callable[[Result, AutoscorerError | None], Result | None]


def _never() -> StopReason | None:
    return None


def _quiet(_stage: str) -> None:
    return None


def _as_it_is(result: Result, _error: AutoscorerError | None) -> Result | None:
    return result


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """What a job needs from outside. ``choose`` makes the executor; ``on_stage`` hears each stage's name.

    ``conclude`` gets the job's end before `result.json` is written, and says what is to be written: None is
    nothing. Where a store keeps results it publishes there, and raises `FencedError` if that is refused.
    ``attempts`` is how many tries the job has here. Without ``may_expose_truth`` a program that could read
    the truth is not run.
    """

    settings: Settings
    choose: Callable[[], Executor]
    catalog: Catalog
    cache: ResultCache | None = None
    stop: StopSignal = _never
    on_stage: Callable[[str], None] = _quiet
    keep_attempt: bool = False
    holder: Holder = field(default_factory=Holder)
    conclude: Conclude = _as_it_is
    attempts: int = MAX_ATTEMPTS
    plots: bool = False
    may_expose_truth: bool = True


@dataclass
class JobUnderWay:
    """What is known of a job so far, so that a failure can tell it all.

    ``current`` is the stage, execution or scoring, that a fault of ours or an interrupt is told of.
    """

    context: JobContext
    claim: Claim
    spec: JobSpec
    logger: JobLogger
    current: str
    facts: JobFacts = field(default_factory=JobFacts)
    staged_s: float = 0.0

    @property
    def workspace(self) -> Workspace:
        return self.claim.workspace

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

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """A folder for this try; removed in the end unless it is to be kept."""
        attempt = self.claim.new_attempt()
        try:
            yield attempt
        finally:
            if self.context.keep_attempt:
                attempt.keep()
            else:
                _discard(self, attempt)

    def conclude(self, result: Result) -> Result | None:
        """Tell that the job ended well. Raises AutoscorerError if it did not: a cancel came first."""
        concluded = self.context.conclude(result, None)
        if concluded is not None and concluded.error is not None:
            raise AutoscorerError(concluded.error["code"], concluded.error["message"])
        return concluded

    def write_result(self, result: Result) -> Path:
        """Make ``result`` the workspace's `result.json`; answers where it stands."""
        output_dir = _output_dir(self)
        _write_result(self.claim, output_dir, result)
        return output_dir / "result.json"


@contextmanager
def under_way(context: JobContext, workspace_path: str | Path, *, stage: str) -> Iterator[JobUnderWay]:
    """Claim the workspace and read its spec; whatever fails is concluded and raised."""
    with claim(Workspace.open(workspace_path), context.holder) as held:
        try:
            spec = held.workspace.load_spec()
            logger = JobLogger(spec.job_id, held.workspace.root, secrets=context.settings.secrets())
        except AutoscorerError as exc:
            _tell_without_spec(context, held, exc)
            raise
        job = JobUnderWay(context, held, spec, logger, stage)
        job.facts.begin(spec)
        try:
            job.logger.start(spec.model_dump(mode="json", exclude_none=True))
            glimpse = Glimpse(held.workspace.root)
            exposed = exposure_warnings(glimpse, spec, context.settings, context.catalog)
            if exposed and not context.may_expose_truth and stage == "execution":
                raise _exposed(exposed)
            job.facts.warnings += exposed
            yield job
            job.logger.complete(timing=job.facts.timing)
        except FencedError:
            raise
        except KeyboardInterrupt:
            interrupted = AutoscorerError("CANCELLED", "the job was interrupted", stage=job.current)
            raise _fail(job, interrupted) from None
        except AutoscorerError as exc:
            raise _fail(job, exc) from exc.__cause__
        except BaseException as exc:  # boundary of a job: our own fault must be told, and gets no score
            raise _fail(job, _unexpected(exc, spec.job_id, job.current)) from exc


def _exposed(warnings: Sequence[Warning_]) -> AutoscorerError:
    faults = [SpecFault("input/", warning.message, "ALLOW_TRUTH_IN_INPUT: true") for warning in warnings]
    return spec_error(faults, cause="workspace")


def _unexpected(exc: BaseException, job_id: str, stage: str) -> AutoscorerError:
    if (full := disk_full(exc)) is not None:
        return full
    log_event("ERROR", "job_internal_error", error=exc, job_id=job_id)
    message = f"unexpected {type(exc).__name__} in the platform"
    return AutoscorerError("INTERNAL_ERROR", message, stage=stage)


def _fail(job: JobUnderWay, error: AutoscorerError) -> AutoscorerError:
    concluded = job.context.conclude(records.failure(error, job.facts), error)
    if concluded is not None:
        job.write_result(concluded)
    job.logger.error(str(error.stage), error.code, error.message, error.details)
    return error


def _tell_without_spec(context: JobContext, held: Claim, error: AutoscorerError) -> None:
    concluded = context.conclude(records.failure(error, JobFacts()), error)
    if concluded is not None:
        _write_result(held, held.workspace.root / "output", concluded)


def _write_result(held: Claim, output_dir: Path, result: Result) -> None:
    if output_dir.is_symlink():
        return
    output_dir.mkdir(parents=True, exist_ok=True)
    if result.error is not None and not result.artifacts:  # no picture of a score that is none
        held.remove(output_dir / FOLDER)
    held.write_json(output_dir / "result.json", result.to_json())


def _output_dir(job: JobUnderWay) -> Path:
    """Where the result goes; a spec that names no good place gets it at the usual one."""
    try:
        return job.output_dir
    except AutoscorerError:
        return job.workspace.root / "output"


def _discard(job: JobUnderWay, attempt: Attempt) -> None:
    """What cannot be cleaned up must not decide the job: a program could bring that about."""
    try:
        attempt.discard()
    except OSError as exc:
        message = f".attempts/{attempt.name} could not be removed ({exc.strerror})"
        job.facts.warnings.append(Warning_(code="CLEANUP_INCOMPLETE", message=message))
        job.logger.warning("CLEANUP_INCOMPLETE", message)  # noqa: PLE1205 - not a logging.Logger
