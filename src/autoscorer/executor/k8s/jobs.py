"""One Job at the cluster: made or found, asked about, removed. And what killed runs left, found again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from autoscorer.executor.base import IsAlive, Reaped
from autoscorer.executor.k8s.belongings import binds_own_claim
from autoscorer.executor.k8s.client import (
    CONFLICT,
    NOT_FOUND,
    Cluster,
    RefusedError,
    UnreachableError,
    cluster_errors,
)
from autoscorer.executor.k8s.naming import (
    ANNOTATION_CONTENT,
    ANNOTATION_OWNER,
    LABEL_ATTEMPT,
    MANAGED_BY,
    OURS,
    attempt_of,
    task_of,
)
from autoscorer.executor.k8s.network_policy import POLICY_NAME, deny_all
from autoscorer.executor.ownership import Owner
from autoscorer.utils.errors import AutoscorerError

BATCH = "batch/v1"
NETWORKING = "networking.k8s.io/v1"
GONE_WITHIN_S = 60.0
REMOVE_TRIES = 10  # a Job's own controller may change it between look and removal
_REFUSED = ("FailedCreate", "ProvisioningFailed")
_PAUSE_S = 0.1


def create_or_adopt(
    cluster: Cluster,
    body: Mapping[str, Any],
    *,
    content: str,
    owner: Owner,
    is_alive: IsAlive,
    belongs_to: Sequence[Mapping[str, Any]] = (),
) -> bool:
    """Make the Job, unless it is there already with the same content; whether it was there.

    ``owner`` is the process that runs it, ``belongs_to`` what takes it along when it is deleted.

    So an answer that was lost makes no second one, and what a controller had begun that was killed is taken
    up. What it left with other content, or what is over, is removed first, its pods and its claim too.
    Raises WORKSPACE_BUSY if its owner lives, or is a later attempt at the same task.
    """
    annotations = {ANNOTATION_OWNER: str(owner), ANNOTATION_CONTENT: content}
    metadata = body["metadata"] | {"annotations": body["metadata"]["annotations"] | annotations}
    if belongs_to:
        metadata["ownerReferences"] = list(belongs_to)
    name, deadline = metadata["name"], time.monotonic() + GONE_WITHIN_S
    while True:
        with cluster_errors("creating the Job", refused="CONTAINER_CREATE_FAILED"):
            if binds_own_claim(body):
                _remove_claim_without_job(cluster, name, deadline=deadline)
            try:
                cluster.call("POST", cluster.path("jobs", group=BATCH), body={**body, "metadata": metadata})
            except RefusedError as exc:
                if exc.status != CONFLICT:
                    raise
            else:
                return False
            pods = pods_of(cluster, name)  # before the look: none of a Job that is made later
            there = _found(cluster, name)
            if there is not None and _may_adopt(there, content=content, owner=owner, is_alive=is_alive):
                if _take_over(cluster, there["metadata"], owner):
                    return True
            elif there is None or _delete_as_seen(cluster, there["metadata"]):
                _remove_pods(cluster, pods)
                wait_until_gone(cluster, name, deadline=deadline)
            _pause(f"an earlier Job {name}", deadline)


def _may_adopt(there: Mapping[str, Any], *, content: str, owner: Owner, is_alive: IsAlive) -> bool:
    metadata = there["metadata"]
    if why := _why_not_ours(_owner_of(there), owner, is_alive):
        raise AutoscorerError("WORKSPACE_BUSY", why, {"job": metadata["name"]})
    is_over = any(row.get("status") == "True" for row in (there.get("status") or {}).get("conditions") or ())
    same = (metadata.get("annotations") or {}).get(ANNOTATION_CONTENT) == content
    return same and not is_over and "deletionTimestamp" not in metadata


def _why_not_ours(its_owner: Owner | None, owner: Owner, is_alive: IsAlive) -> str:
    """Why the Job is its owner's to run; empty if it may be ours."""
    if its_owner is None or its_owner == owner:
        return ""
    if owner.lease and task_of(owner.lease) == task_of(its_owner.lease):
        # Of two that hold the same task the later attempt has the right: the other has lost its lease.
        is_later = attempt_of(its_owner.lease) > attempt_of(owner.lease)
        return "a later attempt at this task has taken the Job over" if is_later else ""
    return "this attempt runs already, started by a process that is alive" if is_alive(its_owner) else ""


def _owner_of(job: Mapping[str, Any]) -> Owner | None:
    return Owner.parse((job["metadata"].get("annotations") or {}).get(ANNOTATION_OWNER, ""))


def _take_over(cluster: Cluster, seen: Mapping[str, Any], owner: Owner) -> bool:
    """Make it this owner's unless it has changed since it was seen. Whether it is."""
    metadata = {"resourceVersion": seen["resourceVersion"], "annotations": {ANNOTATION_OWNER: str(owner)}}
    try:
        path = cluster.path("jobs", seen["name"], group=BATCH)
        cluster.call("PATCH", path, body={"metadata": metadata})
    except RefusedError as exc:
        if exc.status not in (CONFLICT, NOT_FOUND):
            raise
        return False
    return True


def _remove_claim_without_job(cluster: Cluster, name: str, *, deadline: float) -> None:
    """Until no claim of an earlier Job is there: the next one's pod would bind it, and take what lies on it
    for its own data.

    Raises CONTAINER_CREATE_FAILED if that takes too long.
    """
    path = cluster.path("persistentvolumeclaims", name)
    while (claim := _read(cluster, path)) is not None and _found(cluster, name) is None:
        if "deletionTimestamp" not in claim["metadata"]:
            _delete(cluster, path, {"preconditions": {"uid": claim["metadata"]["uid"]}})
        _pause(f"an earlier claim {name}", deadline)


def _pause(what: str, deadline: float) -> None:
    """Before another look. Raises CONTAINER_CREATE_FAILED once it is too late for one."""
    if time.monotonic() > deadline:
        raise AutoscorerError("CONTAINER_CREATE_FAILED", f"{what} does not go away")
    time.sleep(_PAUSE_S)


def _found(cluster: Cluster, name: str) -> dict[str, Any] | None:
    return _read(cluster, cluster.path("jobs", name, group=BATCH))


def _read(cluster: Cluster, path: str) -> dict[str, Any] | None:
    try:
        return cluster.call("GET", path)
    except RefusedError as exc:
        if exc.status == NOT_FOUND:
            return None
        raise


def remove_job(
    cluster: Cluster, name: str, *, if_of: Callable[[Owner | None], bool], grace_s: int = 0
) -> bool:
    """The Job and its pods, if it is of such an owner still when it goes; whether it went, or had gone.

    Who takes it over meanwhile keeps it. Safe to call twice. What changes all the time stays.
    Raises RefusedError, UnreachableError.
    """
    for _ in range(REMOVE_TRIES):
        pods = pods_of(cluster, name)  # before the look: none of a Job that is made later
        there = _found(cluster, name)
        if there is not None and not if_of(_owner_of(there)):
            return False
        if there is None or _delete_as_seen(cluster, there["metadata"]):
            _remove_pods(cluster, pods, grace_s=grace_s)
            return True
    return False


def _remove_pods(cluster: Cluster, pods: Sequence[Mapping[str, Any]], *, grace_s: int = 0) -> None:
    for pod in pods:
        remove_pod(cluster, pod, grace_s=grace_s)


def remove_pod(cluster: Cluster, pod: Mapping[str, Any], *, grace_s: int = 0) -> None:
    """This pod and no other that has its name by now."""
    metadata = pod["metadata"]
    options = {"gracePeriodSeconds": grace_s, "preconditions": {"uid": metadata["uid"]}}
    _delete(cluster, cluster.path("pods", metadata["name"]), options)


def _delete(cluster: Cluster, path: str, options: Mapping[str, Any]) -> None:
    try:
        cluster.call("DELETE", path, body={"apiVersion": "v1", "kind": "DeleteOptions", **options})
    except RefusedError as exc:
        if exc.status not in (NOT_FOUND, CONFLICT):
            raise


def pods_of(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    query = {"labelSelector": f"{LABEL_ATTEMPT}={name}"}
    return list(cluster.call("GET", cluster.path("pods"), query=query).get("items") or ())


def wait_until_gone(cluster: Cluster, name: str, *, deadline: float) -> None:
    """Until neither Job nor pod is there: what is removed may run on until then.

    Raises CONTAINER_CREATE_FAILED if that takes too long.
    """
    while _found(cluster, name) is not None or pods_of(cluster, name):
        _pause(f"an earlier Job {name}", deadline)


def events_of(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """What the cluster noted about an object, oldest first; nothing if it does not tell us."""
    query = {"fieldSelector": f"involvedObject.name={name}"}
    with suppress(RefusedError, UnreachableError):
        found = cluster.call("GET", cluster.path("events"), query=query, budget_s=0.0).get("items") or []
        return sorted(found, key=lambda row: str(row.get("lastTimestamp") or row.get("eventTime") or ""))
    return []


def refusals(cluster: Cluster, name: str) -> tuple[str, ...]:
    """Why no pod was made for the Job, or no volume for its claim, as the cluster says."""
    rows = (row for row in events_of(cluster, name) if row.get("reason") in _REFUSED)
    return tuple(str(row.get("message", "")) for row in rows)


def job_metadata(cluster: Cluster, name: str) -> dict[str, Any]:
    """The Job's name and uid as the cluster has them. Raises RefusedError, UnreachableError."""
    found: dict[str, Any] = cluster.call("GET", cluster.path("jobs", name, group=BATCH))["metadata"]
    return found


def ensure_policy(cluster: Cluster) -> None:
    """That pods without a network have none, where the cluster enforces it."""
    with cluster_errors("creating the NetworkPolicy"):
        try:
            cluster.call("POST", cluster.path("networkpolicies", group=NETWORKING), body=deny_all())
        except RefusedError as exc:
            if exc.status == CONFLICT:
                return
            if exc.status != 403 or not _has_policy(cluster):
                raise


def _has_policy(cluster: Cluster) -> bool:
    """Whoever may not write policies may still find that the operator has put ours there."""
    try:
        cluster.call("GET", cluster.path("networkpolicies", POLICY_NAME, group=NETWORKING))
    except RefusedError:
        return False
    return True


def reap(cluster: Cluster, is_alive: IsAlive, *, but: str = "") -> tuple[Reaped, ...]:
    """Remove the Job and the pods of every attempt whose owner is not alive, ``but`` the one of that name.

    Raises AutoscorerError.
    """
    with cluster_errors("looking for Jobs left behind"):
        return tuple(_reaped(cluster, is_alive, but=but))


def _reaped(cluster: Cluster, is_alive: IsAlive, *, but: str) -> Iterator[Reaped]:
    def is_dead(owner: Owner | None) -> bool:
        return owner is not None and not is_alive(owner)

    query = {"labelSelector": f"{MANAGED_BY}={OURS}"}
    for job in cluster.call("GET", cluster.path("jobs", group=BATCH), query=query).get("items") or ():
        name = job["metadata"]["name"]
        if name != but and is_dead(_owner_of(job)) and remove_job(cluster, name, if_of=is_dead):
            yield Reaped(kind="job", name=name)


def _delete_as_seen(cluster: Cluster, metadata: Mapping[str, Any]) -> bool:
    """Delete the Job unless it has changed since: somebody may have taken it over. Whether it is deleted."""
    seen = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
    try:
        path = cluster.path("jobs", metadata["name"], group=BATCH)
        cluster.call("DELETE", path, body={**options, "preconditions": seen})
    except RefusedError as exc:
        if exc.status == CONFLICT:
            return False
        if exc.status != NOT_FOUND:
            raise
    return True
