"""Workspaces: an archive is uploaded and becomes one."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal
from autoscorer.api.answers import Answer, answer
from autoscorer.api.current import current
from autoscorer.api.deps import GivenService, make_router, may
from autoscorer.api.faults import bad_request
from autoscorer.api.service import Service
from autoscorer.api.streams import in_thread
from autoscorer.intake.homes import Place
from autoscorer.intake.submitting import kept_from, may_decide
from autoscorer.intake.uploads import Upload, Uploaded, upload_rules
from autoscorer.schemas.job import SpecFault
from autoscorer.schemas.service import UploadView, WorkspacePath
from autoscorer.utils.errors import AutoscorerError

router = make_router("workspaces", prefix="/api/v1/workspaces")
Submitter = Annotated[Principal, may(Permission.SUBMIT_JOBS)]
WORKSPACES = "workspaces"
LONGEST_SILENCE_S = 60.0
_GATHERED_BYTES = 2**20
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("application/x-tar", "application/gzip", "application/zip")
        },
    }
}


class UploadQuery(BaseModel):
    """``base``: the workspace whose input, reference and `meta.json` the new one gets as copies."""

    model_config = ConfigDict(extra="forbid")

    base: WorkspacePath | None = None


@router.post(
    "",
    response_model=Answer[UploadView],
    status_code=201,
    summary="Upload an archive as a workspace",
    openapi_extra=_BODY,
)
async def upload(
    request: Request, service: GivenService, principal: Submitter, asked: Annotated[UploadQuery, Query()]
) -> Response:
    """The body is the .tar, .tar.gz or .zip itself. With `base` it holds `output/` or an image only."""
    current().body_limit = service.settings.upload_max_bytes
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        fault = SpecFault("Content-Type", "is multipart", "the archive as the body: curl --data-binary @FILE")
        raise bad_request([fault], cause="media_type")
    base = None
    if asked.base is not None:
        base = await in_thread(partial(service.homes.base, asked.base, principal))
    elif not may_decide(principal):
        raise _base_needed(principal)
    with ExitStack() as held:
        held.enter_context(service.streams.held(principal.token_id))
        upload = Upload(await in_thread(lambda: _folder(service, principal, base)), service.settings)
        await in_thread(upload.__enter__)
        held.callback(upload.close)
        await _receive(request, upload)
        made = await in_thread(lambda: _finished(service, principal, upload, base))
    return answer(_view(service, made), status=201)


def _folder(service: Service, principal: Principal, base: Place | None) -> Path:
    """A submission lies with its subject's others. A whole workspace is one that participants may take as a
    base, so it lies outside of all submissions."""
    if base is None:
        return service.homes.home(principal.organisation_id) / WORKSPACES
    return service.intake.folder_for(principal, organisation_id=base.organisation_id)


def _finished(service: Service, principal: Principal, upload: Upload, base: Place | None) -> Uploaded:
    rules = upload_rules(service.settings, has_base=base is not None)
    with kept_from(principal):
        return upload.finish(rules, base=base.path if base is not None else None, root=service.homes.root)


def _base_needed(principal: Principal) -> AutoscorerError:
    message = (
        f"A {principal.role} uploads output/ or an image for a workspace of the organiser's; "
        "name that one with ?base=WORKSPACE."
    )
    return AutoscorerError("FORBIDDEN", message, {"role": principal.role})


async def _receive(request: Request, upload: Upload) -> None:
    """The body onto the disk. One that falls silent is given up."""
    gathered = bytearray()
    pieces = request.stream()
    while True:
        try:
            with anyio.fail_after(LONGEST_SILENCE_S):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise bad_request([SpecFault("body", f"fell silent for {LONGEST_SILENCE_S:g} s")]) from None
        except ClientDisconnect:
            raise bad_request([SpecFault("body", "broke off")]) from None
        gathered += piece or b""
        if gathered and (piece is None or len(gathered) >= _GATHERED_BYTES):
            content, gathered = bytes(gathered), bytearray()
            await in_thread(lambda: upload.write(content))  # noqa: B023 - awaited at once
        if piece is None:
            return


def _view(service: Service, made: Uploaded) -> UploadView:
    name = service.homes.place_of(made.path).name
    return UploadView(workspace=name, files=made.unpacked.files, bytes=made.unpacked.bytes)
