"""Callbacks: what was told to whom, what could not be, and telling it again."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal, not_found
from autoscorer.api.answers import Answer, answer
from autoscorer.api.deps import GivenService, make_router, may
from autoscorer.api.lookups import is_id
from autoscorer.api.views import iso_or_none
from autoscorer.schemas.envelope import iso
from autoscorer.schemas.service import CallbackView
from autoscorer.store.records import Callback, CallbackState

router = make_router("callbacks", prefix="/api/v1/callbacks")
Reader = Annotated[Principal, may(Permission.READ_CALLBACKS)]
Sender = Annotated[Principal, may(Permission.RESEND_CALLBACKS)]


class CallbackFilter(BaseModel):
    """Which messages; ``dead`` are those that were given up."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["pending", "delivered", "dead"] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class CallbackList(BaseModel):
    """Messages, newest first."""

    callbacks: list[CallbackView]


@router.get("", response_model=Answer[CallbackList], summary="Callbacks, newest first")
def list_callbacks(
    service: GivenService, principal: Reader, asked: Annotated[CallbackFilter, Query()]
) -> Response:
    """Those of the caller's organisation."""
    organisation_id, _ = principal.narrowed(Permission.READ_CALLBACKS)
    state = CallbackState(asked.state) if asked.state is not None else None
    found = service.store.callbacks.list(organisation_id=organisation_id, state=state, limit=asked.limit)
    return answer(CallbackList(callbacks=[callback_view(callback) for callback in found]))


@router.post("/{callback_id}/resend", response_model=Answer[CallbackView], summary="Send a callback again")
def resend(service: GivenService, principal: Sender, callback_id: str) -> Response:
    """Whatever became of it before; it goes out within seconds."""
    what = f"callback {callback_id[:100]}"
    known = service.store.callbacks.get(callback_id) if is_id(callback_id) else None
    if known is None:
        raise not_found(what)
    principal.require(
        Permission.RESEND_CALLBACKS, organisation_id=known.organisation_id, subject=None, what=what
    )
    return answer(callback_view(service.store.callbacks.resend(callback_id) or known))


def callback_view(callback: Callback) -> CallbackView:
    """A message as its organisation sees it."""
    return CallbackView(
        callback_id=callback.callback_id,
        task_id=callback.task_id,
        url=callback.url,
        job_state=callback.job_state,
        state=callback.state,
        tries=callback.tries,
        last_error=callback.last_error,
        created_at=iso(callback.created_at),
        finished_at=iso_or_none(callback.finished_at),
    )
