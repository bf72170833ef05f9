"""What happens to jobs, counted: one observer of the store's changes, in whichever process makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoscorer.queues.base import QUEUES
from autoscorer.store.base import Store
from autoscorer.store.clock import Instant
from autoscorer.store.moves import Change
from autoscorer.store.records import Action, AttemptEnd, Job, JsonObject
from autoscorer.store.transitions import STATES, JobState
from autoscorer.telemetry import instruments as told
from autoscorer.telemetry.measuring import REGISTRY
from autoscorer.utils.errors import Blame, code_table, find_code

_RUN_STAGES = ("prepare", "scheduling", "pull", "execute", "run", "harvest")
_SCORE_STAGES = ("view", "score", "plots")
# A job that only scores tells the times of the run it scores, too; those were counted with the run.
STAGES: Mapping[Action, tuple[str, ...]] = {
    Action.RUN: _RUN_STAGES,
    Action.SCORE: _SCORE_STAGES,
    Action.PIPELINE: (*_RUN_STAGES, *_SCORE_STAGES),
}
OTHER, NONE = "other", "none"
MAX_SCORERS = 200
_named: set[str] = set()


def observe(store: Store) -> bool:
    """Measure from now on what is done through ``store``; False without the extra."""
    if not REGISTRY.start():
        return False
    _appear()
    store.on_change(count)
    return True


def count(change: Change, now: Instant) -> None:
    """Count a change of a job."""
    job = change.job
    match change.event:
        case "job_submitted":
            told.JOBS_SUBMITTED.add(action=job.action, queue=_queue(job))
        case "job_withdrawn":
            told.MESSAGES_LOST.add(queue=_queue(job))
    if change.opened is not None:
        told.ATTEMPTS_STARTED.add(queue=_queue(job))
        if change.opened.number == 1:
            told.QUEUE_LATENCY.observe(_seconds(job.created_at, now.at), queue=_queue(job))
    if change.ended is not None:
        told.ATTEMPTS_ENDED.add(end=change.ended.end, code=_code(change.ended.error))
    if STATES[job.state].final:
        _count_end(job, change.result or {}, now)


def _count_end(job: Job, result: JsonObject, now: Instant) -> None:
    told.JOBS_ENDED.add(action=job.action, state=job.state, code=_code(job.error), blame=_blame(job.error))
    if job.started_at is not None:
        told.JOB_DURATION.observe(_seconds(job.started_at, now.at), action=job.action)
    timing, versioning = result.get("timing", {}), result.get("versioning", {})
    is_cached = versioning.get("cached") == "true"
    for stage in STAGES[job.action]:
        if f"{stage}_seconds" in timing and not (is_cached and stage == "score"):
            told.STAGE_DURATION.observe(timing[f"{stage}_seconds"], stage=stage)
    if job.action is not Action.SCORE:
        _count_use(result.get("resources", {}))
    if job.action is not Action.RUN:
        _count_score(job, timing, versioning, is_cached=is_cached)


def _count_use(resources: Mapping[str, float]) -> None:
    if (used_s := resources.get("cpu_seconds", 0.0)) > 0:
        told.PROGRAM_CPU.add(used_s)
    if "peak_memory_bytes" in resources:
        told.PROGRAM_MEMORY.observe(resources["peak_memory_bytes"])


def _count_score(
    job: Job, timing: Mapping[str, float], versioning: Mapping[str, str], *, is_cached: bool
) -> None:
    scorer = _scorer(versioning)
    if job.state is JobState.SUCCEEDED:
        told.SCORES.add(scorer=scorer, outcome="cached" if is_cached else "computed", blame=Blame.NOBODY)
        if not is_cached and "score_seconds" in timing:
            told.SCORER_DURATION.observe(timing["score_seconds"], scorer=scorer)
    elif job.state is JobState.FAILED and (job.error or {}).get("stage") == "scoring":
        told.SCORES.add(scorer=scorer, outcome="failed", blame=_blame(job.error))


def _scorer(versioning: Mapping[str, str]) -> str:
    """The scorer's name, if a scorer was found by it: otherwise it is a text from a job's specification."""
    name = versioning.get("scorer", "unknown")
    if versioning.get("version", "unknown").startswith(("unknown", "none")):
        return "unknown"
    if name not in _named and len(_named) >= MAX_SCORERS:
        return OTHER
    _named.add(name)
    return name


def _queue(job: Job) -> str:
    return job.queue if job.queue in QUEUES else OTHER


def _code(error: JsonObject | None) -> str:
    """A code of the table. Scorers may make up their own."""
    if error is None:
        return NONE
    code = str(error.get("code"))
    return code if find_code(code) else OTHER


def _blame(error: JsonObject | None) -> str:
    if error is None:
        return Blame.NOBODY
    details: Any = error.get("details", {})
    blame = details.get("blame", Blame.ORGANISER)
    return blame if blame in set(Blame) else OTHER


def _seconds(start: Any, end: Any) -> float:
    seconds: float = (end - start).total_seconds()
    return max(0.0, seconds)  # a server's date may be set back


def _appear() -> None:
    """What must not be missed when it happens for the first time, is there as zero from the start."""
    for action in Action:
        told.JOBS_ENDED.appear(action=action, state=JobState.SUCCEEDED, code=NONE, blame=Blame.NOBODY)
        for row in code_table():
            if row.blame in (Blame.PLATFORM, Blame.OPERATOR):
                told.JOBS_ENDED.appear(action=action, state=JobState.FAILED, code=row.code, blame=row.blame)
    told.ATTEMPTS_ENDED.appear(end=AttemptEnd.LOST, code="WORKER_LOST")
    for queue in QUEUES:
        told.MESSAGES_LOST.appear(queue=queue)
        told.QUEUE_LATENCY.appear(queue=queue)
