"""What happens to a job: as a list, or as it happens (server-sent events)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any

from fastapi import Header, Query
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal
from autoscorer.api.answers import answer
from autoscorer.api.deps import GivenService, bearer, make_router, may
from autoscorer.api.faults import bad_request
from autoscorer.api.lookups import is_valid, job_for
from autoscorer.api.service import Service
from autoscorer.api.streams import HeldStream, Pace, in_thread
from autoscorer.api.views import JOBS, audience_of
from autoscorer.reports.audience import Audience
from autoscorer.schemas.envelope import iso
from autoscorer.schemas.job import SpecFault
from autoscorer.schemas.service import EventView
from autoscorer.store.records import Event, Job
from autoscorer.store.transitions import STATES
from autoscorer.utils.errors import AutoscorerError, Blame, code_table

router = make_router("events", prefix=JOBS)
Reader = Annotated[Principal, may(Permission.READ_JOBS)]
EVENT_STREAM = "text/event-stream"
_AT_ONCE = 500
_HIGHEST = 2**31
_NUMBER: dict[str, Any] = {"type": "string", "maxLength": 20, "pattern": "^[0-9]{0,9}$"}
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=20), WithJsonSchema(_NUMBER)]


class EventQuery(BaseModel):
    """Events with a number above ``after``, at most ``limit`` in a list."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[int, Field(ge=0, lt=_HIGHEST)] = 0
    limit: Annotated[int, Field(ge=1, le=_AT_ONCE)] = _AT_ONCE


class EventList(BaseModel):
    """Events, oldest first; ``next`` is the ``after`` of the following page, absent on the last."""

    events: list[EventView]
    next: int | None


@router.get(
    "/{task_id}/events",
    summary="What happens to a job, as it happens",
    response_class=Response,
    responses={
        200: {"content": {EVENT_STREAM: {}, "application/json": {}}, "description": "Events"},
        204: {"description": "All of them were told, and the job has ended"},
    },
)
def events(
    *,
    request: Request,
    service: GivenService,
    principal: Reader,
    task_id: str,
    asked: Annotated[EventQuery, Query()],
    last_event_id: LastEventId = None,
) -> Response:
    """A stream until the job has ended; `Last-Event-ID` goes on after that. As JSON, a list."""
    job = job_for(service, principal, Permission.READ_JOBS, task_id)
    if _wants_list(request):
        found = service.store.jobs.events(task_id, after=asked.after, limit=asked.limit)
        is_full = len(found) == asked.limit and found[-1].number < job.events
        shown = [event_view(event, principal, service) for event in found]
        return answer(EventList(events=shown, next=found[-1].number if is_full else None))
    after = _after(last_event_id, asked.after)
    if last_event_id is not None and STATES[job.state].final and after >= job.events:
        return Response(status_code=204)  # a browser stops asking
    with ExitStack() as held:
        held.enter_context(service.streams.held(principal.token_id))
        told = _told(service, principal, job.task_id, after=after, secret=bearer(request))
        return HeldStream(
            told, held=held.pop_all(), headers={"X-Accel-Buffering": "no"}, media_type=EVENT_STREAM
        )


def event_view(event: Event, principal: Principal, service: Service) -> EventView:
    """An event as ``principal`` may see it; a participant reads in the job what an error says."""
    facts = dict(event.facts)
    sees_all = audience_of(principal) is Audience.ORGANISER or service.settings.show_truth_to_participants
    if not sees_all and "message" in facts and _may_quote_truth(str(facts.get("code", ""))):
        del facts["message"]
    return EventView(
        number=event.number, at=iso(event.at), attempt=event.attempt, name=event.name, facts=facts
    )


def _may_quote_truth(code: str) -> bool:
    """Whether a fault of this code can be the organiser's; an event does not say of which cause it was."""
    rows = [row for row in code_table() if row.code == code]
    return not rows or any(row.blame is Blame.ORGANISER for row in rows)


async def _told(
    service: Service, principal: Principal, task_id: str, *, after: int, secret: str
) -> AsyncIterator[bytes]:
    """Events until the last one of the job's end. None is held back for one that comes later."""
    pace = Pace(service.stopping.is_set)
    yield format_sse_event(retry=2000)
    while not pace.is_over:
        job, found = await in_thread(partial(_news, service, task_id, after))
        for event in found:
            yield _as_sse(event_view(event, principal, service))
            after = event.number
            pace.told()
        if job is None or (STATES[job.state].final and after >= job.events):
            return
        if found:
            continue
        if pace.needs_sign_of_life:
            if not await in_thread(lambda: is_valid(service, secret)):
                return
            yield KEEPALIVE_COMMENT
            pace.signed()
        await pace.wait()


def _news(service: Service, task_id: str, after: int) -> tuple[Job | None, Sequence[Event]]:
    """The job, then its events: those that it counts are among them, or come at the next look."""
    try:
        job = service.store.jobs.get(task_id)
        return job, service.store.jobs.events(task_id, after=after, limit=_AT_ONCE)
    except AutoscorerError:  # the store is away; whoever follows takes the stream up again
        return None, ()


def _as_sse(view: EventView) -> bytes:
    text = json.dumps(view.model_dump(mode="json"), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return format_sse_event(data_str=text, event=_one_word(view.name), id=str(view.number))


def _one_word(name: str) -> str:
    return "".join(char if char.isalnum() or char in "_.-" else "_" for char in name)


def _wants_list(request: Request) -> bool:
    accepted = request.headers.get("accept", "").lower()
    return "application/json" in accepted and EVENT_STREAM not in accepted


def _after(last_event_id: str | None, after: int) -> int:
    if last_event_id is None or last_event_id == "":
        return after
    if not (last_event_id.isascii() and last_event_id.isdecimal()) or int(last_event_id) >= _HIGHEST:
        raise bad_request([SpecFault("Last-Event-ID", "is not the number of an event")])
    return max(after, int(last_event_id))
