"""Every route of the API, one row each: how to ask it, and what each role is answered.

A route without a row fails `test_matrix`. ``own``, ``others`` and ``foreign`` are the status that a role
gets for a thing of its own, of another subject of its organisation, and of another organisation; ``own``
alone where a route is not about a certain thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoscorer.store.records import Job
from tests.api.sites import ApiSite

ROLES = ("operator", "organiser", "participant", "viewer")
Ask = Callable[[ApiSite, Job], Mapping[str, Any]]


def _nothing(_api: ApiSite, _job: Job) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One route. ``prepare`` brings the job it is about into the state that it needs; ``ask`` gives what
    the request holds besides its address, from a job of the thing's owner."""

    method: str
    path: str
    own: Mapping[str, int]
    others: Mapping[str, int] = field(default_factory=dict)
    foreign: Mapping[str, int] = field(default_factory=dict)
    ask: Ask = _nothing
    prepare: Callable[[ApiSite, Job], None] | None = None
    is_open: bool = False


def _by_role(operator: int, organiser: int, participant: int, viewer: int) -> Mapping[str, int]:
    return dict(zip(ROLES, (operator, organiser, participant, viewer), strict=True))


def _workspace(api: ApiSite, job: Job) -> Mapping[str, Any]:
    return {"json": {"workspace": job.workspace, "wait_s": 0, "backend": "stub"}}


def _submission(api: ApiSite, job: Job) -> Mapping[str, Any]:
    return {"json": {"workspace": job.workspace, "action": "score"}}


def _spec(api: ApiSite, job: Job) -> Mapping[str, Any]:
    return {"json": {"workspace": job.workspace, "action": "score", "spec": {}}}


def _cancel(api: ApiSite, job: Job) -> None:
    api.store.jobs.cancel(job.task_id, by="ada")


_READ: Any = {
    "own": _by_role(200, 200, 200, 200),
    "others": _by_role(200, 200, 404, 200),
    "foreign": _by_role(200, 404, 404, 404),
}


def _made(status: int) -> Any:
    return {
        "own": _by_role(status, status, status, 403),
        "others": _by_role(status, status, 404, 403),
        "foreign": _by_role(status, 404, 404, 403),
    }


ROWS = (
    Row(method="GET", path="/healthz", own=dict.fromkeys(ROLES, 200), is_open=True),
    Row(method="GET", path="/readyz", own=dict.fromkeys(ROLES, 200), is_open=True),
    Row(method="GET", path="/metrics", own=dict.fromkeys(ROLES, 401)),
    Row(method="GET", path="/docs", own=dict.fromkeys(ROLES, 200)),
    Row(method="GET", path="/openapi.json", own=dict.fromkeys(ROLES, 200)),
    Row(method="POST", path="/run", ask=_workspace, prepare=_cancel, **_made(202)),
    Row(method="POST", path="/score", ask=_workspace, prepare=_cancel, **_made(202)),
    Row(method="POST", path="/pipeline", ask=_workspace, prepare=_cancel, **_made(202)),
    Row(method="POST", path="/submit", ask=_submission, prepare=_cancel, **_made(202)),
    Row(method="GET", path="/tasks/{task_id}", **_READ),
    Row(method="POST", path="/api/v1/jobs", ask=_spec, prepare=_cancel, **_made(202)),
    Row(method="GET", path="/api/v1/jobs", own=dict.fromkeys(ROLES, 200)),
    Row(method="GET", path="/api/v1/jobs/{task_id}", **_READ),
    Row(method="POST", path="/api/v1/jobs/{task_id}/cancel", **_made(200)),
    Row(method="POST", path="/api/v1/jobs/{task_id}/retry", prepare=_cancel, **_made(202)),
)
