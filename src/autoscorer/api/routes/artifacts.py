"""The files of a result: listed, and served as the result lists them, whole or in part."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated, Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal
from autoscorer.api.answers import Answer, answer, refusal
from autoscorer.api.deps import GivenService, make_router, may
from autoscorer.api.lookups import job_for
from autoscorer.api.ranges import Part, UnsatisfiableError, is_unchanged, wanted_part
from autoscorer.api.results import artifact_views, no_artifact, open_artifact, pieces, result_of
from autoscorer.api.streams import HeldStream, in_thread
from autoscorer.api.views import JOBS
from autoscorer.schemas.result import Artifact
from autoscorer.schemas.service import ArtifactView
from autoscorer.utils.errors import AutoscorerError

router = make_router("artifacts", prefix=JOBS)
Reader = Annotated[Principal, may(Permission.READ_JOBS)]
_AT = "/{task_id}/artifacts/{name}"
_FILE = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": _FILE, "description": "The file"},
    206: {"content": _FILE, "description": "The `Range` of it that was asked for"},
    304: {"description": "The file is the one that `If-None-Match` names"},
}


class ArtifactList(BaseModel):
    """The files of a result that the caller may see."""

    artifacts: list[ArtifactView]


@router.get("/{task_id}/artifacts", response_model=Answer[ArtifactList], summary="The files of a result")
def list_artifacts(request: Request, service: GivenService, principal: Reader, task_id: str) -> Response:
    """Each with its size, SHA-256 and address; those that show the truth to organisers only."""
    job = job_for(service, principal, Permission.READ_JOBS, task_id)
    result = result_of(service, principal, job)
    return answer(ArtifactList(artifacts=artifact_views(job, result, request=request, service=service)))


@router.head(_AT, include_in_schema=False)
@router.get(_AT, summary="One file of a result", response_class=Response, responses=_ANSWERS)
def download(request: Request, service: GivenService, principal: Reader, task_id: str, name: str) -> Response:
    """The bytes whose SHA-256 the result names, or none; a `Range` of them where one is asked for."""
    job = job_for(service, principal, Permission.READ_JOBS, task_id)
    artifact = result_of(service, principal, job).artifacts.get(name)
    if artifact is None:
        raise no_artifact(job, name)
    etag = f'"{artifact.sha256}"'
    with ExitStack() as held:
        held.enter_context(service.streams.held(principal.token_id))
        descriptor = open_artifact(service, job, artifact, held=held)
        if is_unchanged(etag, request.headers.get("if-none-match")):
            return Response(status_code=304, headers={"ETag": etag})
        try:
            part = wanted_part(
                size=artifact.size,
                etag=etag,
                asked=request.headers.get("range"),
                if_range=request.headers.get("if-range"),
            )
        except UnsatisfiableError:
            return _unsatisfiable(artifact)
        sent = part or Part(0, artifact.size)
        return HeldStream(
            _sent(descriptor, sent),
            held=held.pop_all(),
            status=200 if part is None else 206,
            headers=_headers(artifact, etag, sent, is_part=part is not None),
            media_type=_plain(artifact.media_type),
        )


async def _sent(descriptor: int, part: Part) -> AsyncIterator[bytes]:
    rest = pieces(descriptor, part.start, part.end)
    while piece := await in_thread(lambda: next(rest, b"")):
        yield piece


def _headers(artifact: Artifact, etag: str, part: Part, *, is_part: bool) -> dict[str, str]:
    filename = artifact.path.rpartition("/")[2]
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{filename}"',
        "Content-Length": str(part.end - part.start),
        "ETag": etag,
    }
    return {**headers, "Content-Range": part.content_range(artifact.size)} if is_part else headers


def _unsatisfiable(artifact: Artifact) -> Response:
    message = f"The file has {artifact.size} bytes; the range asked for lies outside."
    error = AutoscorerError("BAD_REQUEST", message, {"size": artifact.size}, cause="range")
    return refusal(error, headers={"Content-Range": f"bytes */{artifact.size}"})


def _plain(media_type: str) -> str:
    """A media type that stands in a header as it is."""
    good = media_type.isascii() and media_type.isprintable()
    return media_type if good else "application/octet-stream"
