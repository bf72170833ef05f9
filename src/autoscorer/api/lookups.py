"""Things that a request names, as its caller may reach them: out of reach is the same as not there."""

from __future__ import annotations

import re

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal, not_found
from autoscorer.api.service import Service
from autoscorer.store.records import Job

_TASK_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def job_for(service: Service, principal: Principal, permission: Permission, task_id: str) -> Job:
    """The job of that id, if ``principal`` has ``permission`` over it. Raises NOT_FOUND, FORBIDDEN."""
    what = f"job {task_id}"
    job = service.store.jobs.get(task_id) if _TASK_ID.fullmatch(task_id) else None
    if job is None:
        principal.reach(permission)
        raise not_found(what)
    principal.require(permission, organisation_id=job.organisation_id, subject=job.submitted_by, what=what)
    return job
