"""Things that a request names, as its caller may reach them: out of reach is the same as not there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal, not_found
from autoscorer.access.tokens import authenticate
from autoscorer.api.service import Service
from autoscorer.intake.homes import real_folder
from autoscorer.store.records import Job, JobQuery, Organisation
from autoscorer.utils.errors import AutoscorerError

_LOOKED_AT = 50
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def is_id(text: str) -> bool:
    """Whether ``text`` can be the id of anything; what cannot never reaches the store."""
    return _ID.fullmatch(text) is not None


def job_for(service: Service, principal: Principal, permission: Permission, task_id: str) -> Job:
    """The job of that id, if ``principal`` has ``permission`` over it. Raises NOT_FOUND, FORBIDDEN."""
    what = f"job {task_id}"
    job = service.store.jobs.get(task_id) if is_id(task_id) else None
    if job is None:
        principal.reach(permission)
        raise not_found(what)
    principal.require(permission, organisation_id=job.organisation_id, subject=job.submitted_by, what=what)
    return job


def latest_job(
    service: Service,
    principal: Principal,
    workspace: str,
    *,
    rather: Callable[[Job], bool] = lambda _job: True,
) -> Job:
    """The latest job there that ``principal`` may see, ``rather`` one of those. Raises NOT_FOUND."""
    organisation_id, subject = principal.narrowed(Permission.READ_JOBS)
    name = _workspace_name(service, workspace)
    query = JobQuery(organisation_id=organisation_id, submitted_by=subject, workspace=name, limit=_LOOKED_AT)
    jobs = service.store.jobs.page(query).jobs if name else ()
    if not jobs:
        raise not_found(f"job of workspace {workspace!r}")
    return next(filter(rather, jobs), jobs[0])


def _workspace_name(service: Service, text: str) -> str:
    """How jobs say the name of that workspace, whether its folder is still there or not."""
    root, text = service.homes.root, service.homes.from_root(text)
    found = real_folder(root, text)
    if found is not None:
        return found.relative_to(root).as_posix()
    path = PurePosixPath(text)
    if path.is_absolute():
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else ""
    return path.as_posix()


def organisation_for(
    service: Service, principal: Principal, permission: Permission, name: str | None
) -> Organisation:
    """The organisation of that name, the principal's own without one. Raises NOT_FOUND, FORBIDDEN."""
    wanted = [
        organisation
        for organisation in service.store.access.organisations()
        if name in (None, organisation.name)
        and (name is not None or organisation.organisation_id == principal.organisation_id)
    ]
    what = f"organisation {name}"
    if not wanted:
        principal.reach(permission)
        raise not_found(what)
    principal.require(
        permission, organisation_id=wanted[0].organisation_id, subject=principal.subject, what=what
    )
    return wanted[0]


def is_valid(service: Service, secret: str) -> bool:
    """Whether a token is still worth something, for what goes on for long. A store that is away says no."""
    try:
        authenticate(service.store, secret)
    except AutoscorerError:
        return False
    return True
