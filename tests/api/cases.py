"""Every route of the API, one row each: how to ask it, and what each role is answered.

A route without a row fails `test_matrix`. ``own``, ``others`` and ``foreign`` are the status that a role
gets for a thing of its own, of another subject of its organisation, and of another organisation; ``own``
alone where a route is not about a certain thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoscorer.access.tokens import make_token
from autoscorer.store.records import Job, Role
from tests.api.sites import ApiSite
from tests.unpacking.archives import tar_of

ROLES = ("operator", "organiser", "participant", "viewer")
Ask = Callable[[ApiSite, Job], Mapping[str, Any]]


def _nothing(_api: ApiSite, _job: Job) -> Mapping[str, Any]:
    return {}


def _no_names(_api: ApiSite, _job: Job) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One route. ``prepare`` brings the job it is about into the state that it needs; ``ask`` gives what
    the request holds besides its address, from a job of the thing's owner. ``job`` is what that job is."""

    method: str
    path: str
    own: Mapping[str, int]
    others: Mapping[str, int] = field(default_factory=dict)
    foreign: Mapping[str, int] = field(default_factory=dict)
    ask: Ask = _nothing
    prepare: Callable[[ApiSite, Job], None] | None = None
    is_open: bool = False
    names: Callable[[ApiSite, Job], Mapping[str, str]] = _no_names
    job: Mapping[str, Any] = field(default_factory=dict)

    def named(self, api: ApiSite, job: Job) -> Mapping[str, str]:
        """What stands in the path for each placeholder."""
        return {"{task_id}": job.task_id, **self.names(api, job)}


def _by_role(operator: int, organiser: int, participant: int, viewer: int) -> Mapping[str, int]:
    return dict(zip(ROLES, (operator, organiser, participant, viewer), strict=True))


def _workspace(api: ApiSite, job: Job) -> Mapping[str, Any]:
    return {"json": {"workspace": job.workspace, "wait_s": 0}}


def _submission(api: ApiSite, job: Job) -> Mapping[str, Any]:
    return {"json": {"workspace": job.workspace, "action": "score"}}


def _spec(api: ApiSite, job: Job) -> Mapping[str, Any]:
    return {"json": {"workspace": job.workspace, "action": "score", "spec": {}}}


def _cancel(api: ApiSite, job: Job) -> None:
    api.store.jobs.cancel(job.task_id, by="ada")


def _of_workspace(_api: ApiSite, job: Job) -> Mapping[str, Any]:
    return {"params": {"workspace": job.workspace}}


def _done(api: ApiSite, _job: Job) -> None:
    api.drain()


def _submitted(_api: ApiSite, job: Job) -> Mapping[str, Any]:
    return {"params": {"base": job.workspace}, "content": tar_of({"output/pred.csv": b""})}


def _artifact(_api: ApiSite, _job: Job) -> Mapping[str, str]:
    return {"{name}": ARTIFACT}


def _accept_json(_api: ApiSite, _job: Job) -> Mapping[str, Any]:
    return {"headers": {"Accept": "application/json"}}


def _a_callback(api: ApiSite, job: Job) -> Mapping[str, str]:
    """One of the job's organisation, to be sent."""
    if job.task_id.startswith("00000000"):
        return {"{callback_id}": job.task_id}
    told = api.site.submit(
        api.store,
        api.site.workspace(),
        organisation_id=job.organisation_id,
        callback_url="https://ui.example/done",
    )
    api.store.jobs.cancel(told.task_id, by="ada")
    return {"{callback_id}": api.store.callbacks.list(limit=1)[0].callback_id}


def _a_token(api: ApiSite, job: Job) -> Mapping[str, str]:
    """One of the job's organisation, that nobody uses."""
    if job.task_id.startswith("00000000"):
        return {"{token_id}": job.task_id}
    made = make_token(
        organisation_id=job.organisation_id, subject="eve", role=Role.VIEWER, now=api.store.now().at
    )
    api.store.access.add_token(made.stored)
    return {"{token_id}": made.stored.token_id}


def _organisation(api: ApiSite, job: Job) -> Mapping[str, str]:
    """That of the job, or one that is not there."""
    if job.task_id.startswith("00000000"):
        return {"{organisation}": "absent"}
    names = {one.organisation_id: one.name for one in api.store.access.organisations()}
    return {"{organisation}": names[job.organisation_id]}


def _of_organisation(api: ApiSite, job: Job) -> Mapping[str, Any]:
    return {"params": {"organisation": _organisation(api, job)["{organisation}"]}}


def _scorer_file(_api: ApiSite, _job: Job) -> Mapping[str, Any]:
    return {"json": {"file_path": "absent.py"}}


def _trial(_api: ApiSite, job: Job) -> Mapping[str, Any]:
    return {"json": {"scorer_name": "absent", "workspace": job.workspace}}


ARTIFACT = "confusion_matrix"
_READ: Any = {
    "own": _by_role(200, 200, 200, 200),
    "others": _by_role(200, 200, 404, 200),
    "foreign": _by_role(200, 404, 404, 404),
}


# An artifact that shows the truth is not there for whom it is not meant.
_TRUTH: Any = {
    "own": _by_role(200, 200, 404, 404),
    "others": _by_role(200, 200, 404, 404),
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
    Row(
        method="POST",
        path="/api/v1/jobs/{task_id}/retry",
        prepare=_cancel,
        job={"backend": "auto"},  # what a participant may submit
        **_made(202),
    ),
    Row(method="GET", path="/api/v1/jobs/{task_id}/events", ask=_accept_json, **_READ),
    Row(method="GET", path="/api/v1/jobs/{task_id}/log", prepare=_done, **_READ),
    Row(method="GET", path="/api/v1/jobs/{task_id}/result", prepare=_done, **_READ),
    Row(method="GET", path="/api/v1/jobs/{task_id}/result.json", prepare=_done, **_READ),
    Row(method="GET", path="/api/v1/jobs/{task_id}/artifacts", prepare=_done, **_READ),
    Row(
        method="GET",
        path="/api/v1/jobs/{task_id}/artifacts/{name}",
        prepare=_done,
        names=_artifact,
        **_TRUTH,
    ),
    Row(
        method="HEAD",
        path="/api/v1/jobs/{task_id}/artifacts/{name}",
        prepare=_done,
        names=_artifact,
        **_TRUTH,
    ),
    Row(method="GET", path="/result", ask=_of_workspace, prepare=_done, **_READ),
    Row(method="GET", path="/logs", ask=_of_workspace, prepare=_done, **_READ),
    Row(
        method="POST",
        path="/api/v1/workspaces",
        ask=_submitted,
        own=_by_role(201, 201, 201, 403),
        # What one participant has submitted is no base for another.
        others=_by_role(201, 201, 404, 403),
        foreign=_by_role(201, 404, 404, 403),
    ),
    Row(method="GET", path="/scorers", own=dict.fromkeys(ROLES, 200)),
    Row(method="POST", path="/scorers/load", ask=_scorer_file, own=_by_role(404, 404, 403, 403)),
    Row(method="POST", path="/scorers/reload", ask=_scorer_file, own=_by_role(404, 404, 403, 403)),
    Row(
        method="POST",
        path="/scorers/test",
        ask=_trial,
        own=_by_role(422, 422, 403, 403),
        others=_by_role(422, 422, 403, 403),
        foreign=_by_role(422, 404, 403, 403),
    ),
    Row(method="GET", path="/scorers/watch", own=_by_role(200, 200, 403, 403)),
    Row(method="POST", path="/scorers/watch", ask=_scorer_file, own=_by_role(404, 404, 403, 403)),
    Row(method="DELETE", path="/scorers/watch", own=_by_role(404, 404, 403, 403)),
    Row(method="GET", path="/api/v1/tokens", own=_by_role(200, 200, 403, 403)),
    Row(
        method="POST",
        path="/api/v1/tokens",
        ask=lambda _api, _job: {"json": {"subject": "eve", "role": "viewer"}},
        own=_by_role(201, 201, 403, 403),
    ),
    Row(
        method="DELETE",
        path="/api/v1/tokens/{token_id}",
        names=_a_token,
        own=_by_role(200, 200, 403, 403),
        foreign=_by_role(200, 404, 403, 403),
    ),
    Row(method="GET", path="/api/v1/organisations", own=_by_role(200, 403, 403, 403)),
    Row(
        method="POST",
        path="/api/v1/organisations",
        ask=lambda _api, job: {"json": {"name": f"made-{job.task_id}"}},
        own=_by_role(201, 403, 403, 403),
    ),
    Row(method="GET", path="/api/v1/callbacks", own=_by_role(200, 200, 403, 403)),
    Row(
        method="GET",
        path="/api/v1/callbacks/secret",
        ask=_of_organisation,
        names=_organisation,
        own=_by_role(200, 200, 403, 403),
        others=_by_role(200, 200, 403, 403),
        foreign=_by_role(200, 404, 403, 403),
    ),
    Row(
        method="POST",
        path="/api/v1/callbacks/{callback_id}/resend",
        names=_a_callback,
        own=_by_role(200, 200, 403, 403),
        others=_by_role(200, 200, 403, 403),
        foreign=_by_role(200, 404, 403, 403),
    ),
    Row(method="GET", path="/api/v1/queue", own=dict.fromkeys(ROLES, 200)),
)
