"""What is written down about a job in its workspace, and the facts behind it.

`output/result.json`, `logs/run_info.json`, `logs/inspect.json`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Strict

from autoscorer import __version__, staging
from autoscorer.claims import Claim
from autoscorer.executor.base import AttemptPlan, RunOutcome
from autoscorer.harvest import RESERVED, Harvest
from autoscorer.schemas.envelope import Warning_, iso_now
from autoscorer.schemas.job import JobSpec, SpecFault, spec_error
from autoscorer.schemas.result import FiniteFloat, Result, canonical_json
from autoscorer.scorers.handover import FOLDER, take_artifacts
from autoscorer.utils.artifacts import clear_name, open_regular, write_json
from autoscorer.utils.errors import AutoscorerError, read_error
from autoscorer.workspace import Workspace

NOT_RUN = {"isolation": "none: nothing was run", "image_digest": "none"}
RUN_INFO, INSPECT = "run_info.json", "inspect.json"
CONTAINER_LOG, LOG_OWNER = "container.log", "container.json"
MAX_LOG_OWNER_BYTES = 4096
MAX_RUN_INFO_BYTES = 2**20
MAX_RESULT_BYTES = 2**26
# What a later `score` says of the run whose output it scores; all else it finds out itself.
ADOPTED = ("backend", "node", "isolation", "image_digest")


class RunInfo(BaseModel):
    """`logs/run_info.json` as it is read back: a file in a workspace is never simply believed."""

    model_config = ConfigDict(frozen=True)

    output_sha256: str | None = None
    timing: dict[str, FiniteFloat] = {}
    resources: dict[str, FiniteFloat | Annotated[int, Strict()]] = {}
    provenance: dict[str, str] = {}


@dataclass
class JobFacts:
    """What is known of a job so far. Times in seconds, sizes in bytes; ``provenance`` goes to versioning."""

    timing: dict[str, float] = field(default_factory=dict)
    resources: dict[str, float | int] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)
    output: dict[str, Any] = field(default_factory=dict)
    warnings: list[Warning_] = field(default_factory=list)

    def begin(self, spec: JobSpec) -> None:
        """The audit's first facts; until something ran, nothing kept anything apart."""
        self.provenance |= {"job_id": spec.job_id, "scorer": spec.scorer, **NOT_RUN}

    def note_outcome(self, outcome: RunOutcome) -> None:
        """How the program ended, and behind which walls it ran."""
        self.timing["run_seconds"] = round(outcome.duration_s, 6)
        measured = {"peak_memory_bytes": outcome.peak_memory_bytes, "cpu_seconds": outcome.cpu_seconds}
        self.resources |= {key: value for key, value in measured.items() if value is not None}
        isolation = asdict(outcome.isolation)
        self.provenance |= {
            "backend": isolation.pop("backend"),
            "isolation": canonical_json(isolation),
        }
        waits = ("scheduling_seconds", "pull_seconds")
        self.timing |= {key: outcome.details[key] for key in waits if outcome.details.get(key) is not None}
        if node := outcome.details.get("node"):
            self.provenance["node"] = str(node)
        digest = outcome.details.get("image_digest")
        self.provenance["image_digest"] = digest or "none"

    def note_harvest(self, taken: Harvest) -> None:
        """What was taken from the program's output."""
        self.output = {"files": len(taken.sha256), "bytes": taken.total_bytes}
        self.warn_of_reserved(taken.reserved)

    def warn_of_reserved(self, names: Iterable[str]) -> None:
        """What was delivered under names of ours is not taken."""
        self.warnings += [
            Warning_(
                code="RESERVED_NAME", message=f"output/{name} is the platform's own name; it was not taken"
            )
            for name in names
        ]

    def adopt_run(self, earlier: RunInfo | None, output_sha256: str | None) -> None:
        """Take over what an earlier `run` recorded, if it wrote exactly the output that is scored now."""
        if earlier and output_sha256 and earlier.output_sha256 == output_sha256:
            self.timing = {**earlier.timing, **self.timing}
            self.resources = {**earlier.resources, **self.resources}
            self.provenance |= {key: earlier.provenance[key] for key in ADOPTED if key in earlier.provenance}


def publish_artifacts(result: Result, view_output: Path, output_dir: Path) -> Result:
    """Put the files that ``result`` lists from ``view_output`` into ``output_dir``/artifacts, afresh.

    Returns the result with the files as they really are. Raises SCORER_BAD_RESULT as `take_artifacts`.
    """
    target = output_dir / FOLDER
    clear_name(target)
    try:
        artifacts = take_artifacts(result.artifacts, view_output, target)
    except BaseException:  # clean-up: a part of them would look like all
        clear_name(target)
        raise
    return result.model_copy(update={"artifacts": artifacts})


def publish_result(result: Result, output_dir: Path) -> None:
    """Write `result.json`; the artifacts it lists are there already."""
    clear_name(output_dir / "result.json")
    write_json(output_dir / "result.json", result.to_json())


def read_result(workspace: Workspace) -> Result:
    """The result that stands in the workspace's output, be it a score or a failure.

    Raises CONFIG_VALIDATION_ERROR (workspace) when there is none, or none as we write it.
    """
    try:
        output_dir = staging.output_dir(workspace, workspace.load_spec())
    except AutoscorerError:
        output_dir = workspace.root / "output"  # where the failure of a faulty `meta.json` is written
    try:
        return _read(output_dir)
    except (OSError, ValueError) as exc:
        missing = isinstance(exc, FileNotFoundError)
        what = "is not there" if missing else "is no result as AutoScorer writes it"
        fault = SpecFault("result.json", what, "`autoscorer score` writes it")
        raise spec_error([fault], cause="workspace") from exc


def not_ours(output_dir: Path) -> list[str]:
    """The platform's names in ``output_dir`` that stand for something else than a result it wrote there.

    Ours are a `result.json` as we write it and, beside it, a folder of files that it lists.
    """
    here = [name for name in sorted(RESERVED) if os.path.lexists(output_dir / name)]
    if not here:
        return []
    try:
        listed = {artifact.path for artifact in _read(output_dir).artifacts.values()}
    except (OSError, ValueError):
        return here
    return [FOLDER] if FOLDER in here and not _holds_only(output_dir / FOLDER, listed) else []


def _holds_only(folder: Path, listed: Collection[str]) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return all(
            entry.is_file(follow_symlinks=False) and f"{FOLDER}/{entry.name}" in listed for entry in entries
        )


def _read(output_dir: Path) -> Result:
    """Raises OSError, ValueError: there is no `result.json`, or none as we write it."""
    descriptor = open_regular(output_dir / "result.json", follow_links=False)
    with os.fdopen(descriptor, "rb") as file:
        result = Result.model_validate_json(file.read(MAX_RESULT_BYTES))
    if result.error is not None:
        read_error(result.error)
    return result


def failure(error: AutoscorerError, facts: JobFacts) -> Result:
    """A result that holds the standard error and what is known of the job."""
    provenance = {"scorer": "unknown", "version": "unknown", **facts.provenance}
    return _unscored(facts, provenance).model_copy(update={"error": error.to_dict(logs_path="logs/")})


def run_result(facts: JobFacts) -> Result:
    """What there is to say of a job that was only run."""
    return _unscored(facts, {"version": "none: nothing was scored", **facts.provenance})


def _unscored(facts: JobFacts, provenance: Mapping[str, str]) -> Result:
    return Result(
        summary={},
        metrics={},
        timing=facts.timing,
        resources=facts.resources,
        versioning={**provenance, "timestamp": iso_now(), "autoscorer": __version__},
    )


def write_run_info(claim: Claim, facts: JobFacts, output_sha256: str | None) -> None:
    """`logs/run_info.json`: the facts of the latest run and the hash of the output it gave."""
    record = {
        "recorded_at": iso_now(),
        "output_sha256": output_sha256,
        "output": facts.output,
        "timing": facts.timing,
        "resources": facts.resources,
        "provenance": facts.provenance,
    }
    claim.write_json(claim.workspace.logs_dir / RUN_INFO, record)


def read_run_info(workspace: Workspace) -> RunInfo | None:
    """The latest run's record, or None if there is none or it is not what we write."""
    try:
        descriptor = open_regular(workspace.logs_dir / RUN_INFO, follow_links=False)
        with os.fdopen(descriptor, "rb") as file:
            return RunInfo.model_validate_json(file.read(MAX_RUN_INFO_BYTES))
    except (OSError, ValueError):
        return None


def begin_run(claim: Claim, lease: str) -> None:
    """Remove what tells of an earlier run, and note under which ``lease`` this one writes its log.

    In this order: a log beside which a lease stands was written under it, or under one that came later.
    """
    logs = claim.workspace.logs_dir
    claim.remove(logs / INSPECT)
    claim.remove(logs / CONTAINER_LOG)
    claim.write_json(logs / LOG_OWNER, {"lease": lease})


def log_owner(descriptor: int) -> str:
    """The lease noted in the open file; empty for a run by hand, and for what we did not write."""
    try:
        noted = json.loads(os.pread(descriptor, MAX_LOG_OWNER_BYTES, 0))["lease"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return noted if isinstance(noted, str) else ""


def write_inspect(
    claim: Claim, plan: AttemptPlan, error: AutoscorerError, outcome: RunOutcome | None
) -> None:
    """`logs/inspect.json` of a run that failed: what was to run and how it ended, no environment values.

    ``outcome`` is None when the program never ran. What a backend says of a container that could not be
    started moves here from the error's ``details.inspect``.
    """
    record = {
        "job_id": plan.job_id,
        "attempt": plan.attempt_id,
        "image": plan.image,
        "command": list(plan.command),
        "env_names": sorted(plan.env),
        "limits": asdict(plan.limits),
        "error": {"code": error.code, "message": error.message, "engine": error.details.get("engine")},
        "inspect": error.details.pop("inspect", None),
        "outcome": asdict(outcome) if outcome else None,
    }
    claim.write_json(
        claim.workspace.logs_dir / INSPECT, {key: value for key, value in record.items() if value is not None}
    )
