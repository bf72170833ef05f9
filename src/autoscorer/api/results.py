"""The result of an ended job and the files it lists, found by that list and held to its hashes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import PurePosixPath
from urllib.parse import quote

from starlette.requests import Request

from autoscorer import staging
from autoscorer.access.principal import Principal, not_found
from autoscorer.api.service import Service
from autoscorer.api.views import JOBS, base_url, job_view, shown_result
from autoscorer.schemas.job import JobSpec
from autoscorer.schemas.result import Artifact, Result
from autoscorer.schemas.service import ArtifactView, JobView
from autoscorer.store.records import Job
from autoscorer.store.transitions import STATES, JobState
from autoscorer.utils.artifacts import open_below
from autoscorer.utils.errors import AutoscorerError
from autoscorer.worker import workspace_of
from autoscorer.workspace import Workspace

_CHUNK_BYTES = 2**20


def result_of(service: Service, principal: Principal, job: Job) -> Result:
    """What an ended job's latest attempt published, as ``principal`` may see it. Raises NOT_FOUND."""
    row = STATES[job.state]
    stored = service.store.jobs.result(job.task_id) if row.final else None
    if stored is None or not stored.is_of(job.state, job.attempt):
        why = "it ended without one" if row.final else f"it is {job.state}"
        raise AutoscorerError("NOT_FOUND", f"Job {job.task_id} has no result: {why}.", {"state": job.state})
    return shown_result(Result.model_validate(stored.body), principal, service.settings)


def whole_view(
    job: Job, *, request: Request, service: Service, principal: Principal, ahead: int | None = None
) -> JobView:
    """A job as ``principal`` may see it and, when it has a score, its result and where its files are."""
    view = job_view(job, request=request, service=service, principal=principal, ahead=ahead)
    stored = service.store.jobs.result(job.task_id) if job.state is JobState.SUCCEEDED else None
    if stored is None:
        return view
    result = shown_result(Result.model_validate(stored.body), principal, service.settings)
    found = {
        "result": result.to_json(),
        "metrics": result.metrics,
        "artifacts": artifact_views(job, result, request=request, service=service),
    }
    return view.model_copy(update=found)


def artifact_views(job: Job, result: Result, *, request: Request, service: Service) -> list[ArtifactView]:
    """The files of a result, each with its address."""
    at = f"{base_url(request, service.settings)}{JOBS}/{job.task_id}/artifacts"
    return [
        ArtifactView(
            name=name,
            size=artifact.size,
            sha256=artifact.sha256,
            media_type=artifact.media_type,
            shows_truth=artifact.shows_truth,
            url=f"{at}/{quote(name, safe='')}",
        )
        for name, artifact in sorted(result.artifacts.items())
    ]


def open_artifact(service: Service, job: Job, artifact: Artifact, *, held: ExitStack) -> int:
    """A descriptor, kept by ``held``, of the file that the result lists, with the hash named there.

    A later job in the same workspace has put its own files there: then, and where nothing is, NOT_FOUND.
    """
    try:
        workspace = Workspace(workspace_of(job, service.settings))
        folder = staging.output_dir(workspace, JobSpec.from_value(dict(job.spec)))
        parts = (*folder.relative_to(service.homes.root).parts, *PurePosixPath(artifact.path).parts)
        descriptor = open_below(service.homes.root, parts)
    except (OSError, ValueError, AutoscorerError):
        raise _gone(job) from None
    held.callback(os.close, descriptor)
    is_whole = os.fstat(descriptor).st_size == artifact.size
    if not is_whole or _sha256(descriptor) != artifact.sha256:
        raise _gone(job)
    return descriptor


def pieces(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    """The bytes of an open file, wherever it stands."""
    while start < end and (piece := os.pread(descriptor, min(_CHUNK_BYTES, end - start), start)):
        start += len(piece)
        yield piece


def _sha256(descriptor: int) -> str:
    digest = hashlib.sha256()
    for piece in pieces(descriptor, 0, os.fstat(descriptor).st_size):
        digest.update(piece)
    return digest.hexdigest()


def no_artifact(job: Job, name: str) -> AutoscorerError:
    """The one answer about an artifact that is not there, or not for this principal."""
    return not_found(f"artifact {name[:100]!r} of job {job.task_id}")


def _gone(job: Job) -> AutoscorerError:
    message = (
        f"The files of job {job.task_id} are not kept any more: another job in the same workspace has "
        "replaced them, or somebody has removed them. Its result still says what they were."
    )
    return AutoscorerError("NOT_FOUND", message, {"task_id": job.task_id})
