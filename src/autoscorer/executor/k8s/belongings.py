"""What belongs to whom: a job's own claim to its Job, every Job to the object that stands for AutoScorer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from autoscorer.executor.base import Limits
from autoscorer.executor.k8s.client import CONFLICT, NOT_FOUND, Cluster, RefusedError, cluster_errors
from autoscorer.executor.k8s.manifest import output_room
from autoscorer.executor.k8s.naming import LABEL_ATTEMPT, MANAGED_BY, OURS
from autoscorer.utils.errors import AutoscorerError

GONE_WITHIN_S, _PAUSE_S = 60.0, 0.1
SLACK_BYTES = 64 * 2**20  # what a file system takes for itself


def reference_to(kind: str, version: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What an object says of its owner: deleted with it, and never holding up its deletion."""
    owner = {"apiVersion": version, "kind": kind, "name": metadata["name"], "uid": metadata["uid"]}
    return {**owner, "controller": False, "blockOwnerDeletion": False}


def installation(cluster: Cluster, name: str | None) -> list[dict[str, Any]]:
    """The owner references of a Job: the ConfigMap K8S_OWNER, if it is set; never a pod, which come and go.

    Raises RESOURCE_UNAVAILABLE if it is not there.
    """
    if name is None:
        return []
    with cluster_errors("looking for K8S_OWNER"):
        try:
            found = cluster.call("GET", cluster.path("configmaps", name))
        except RefusedError as exc:
            if exc.status != NOT_FOUND:
                raise
            message = f"K8S_OWNER names the ConfigMap {name}, and {cluster.namespace} has none of that name."
            raise AutoscorerError("RESOURCE_UNAVAILABLE", message, {"setting": "K8S_OWNER"}) from exc
    return [reference_to("ConfigMap", "v1", found["metadata"])]


def claim_manifest(name: str, *, storage_class: str, size: int, job: Mapping[str, Any]) -> dict[str, Any]:
    """A volume of ``size`` bytes for one Job, which goes with it."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name,
            "labels": {MANAGED_BY: OURS, LABEL_ATTEMPT: name},
            "ownerReferences": [reference_to("Job", "batch/v1", job)],
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": str(size)}},
        },
    }


def binds_own_claim(job: Mapping[str, Any]) -> bool:
    """Whether the Job's pod binds a claim of the Job's name, which is its own."""
    name, volumes = job["metadata"]["name"], job["spec"]["template"]["spec"]["volumes"]
    return name in [row.get("persistentVolumeClaim", {}).get("claimName") for row in volumes]


def size_bytes(limits: Limits, data_bytes: int) -> int:
    """What a job's own volume must hold: its data, its output, and some room."""
    return output_room(limits) + data_bytes + SLACK_BYTES


def ensure_claim(cluster: Cluster, claim: Mapping[str, Any]) -> None:
    """Make it, unless the Job has it already. An earlier Job's goes away first, as that did.

    Raises AutoscorerError.
    """
    name, deadline = claim["metadata"]["name"], time.monotonic() + GONE_WITHIN_S
    with cluster_errors("claiming a volume", refused="CONTAINER_CREATE_FAILED"):
        while time.monotonic() < deadline:
            try:
                cluster.call("POST", cluster.path("persistentvolumeclaims"), body=claim)
            except RefusedError as exc:
                if exc.status != CONFLICT:
                    raise
                if _is_the_jobs(cluster, claim):
                    return
                time.sleep(_PAUSE_S)
            else:
                return
    raise AutoscorerError("CONTAINER_CREATE_FAILED", f"an earlier claim {name} does not go away")


def _is_the_jobs(cluster: Cluster, claim: Mapping[str, Any]) -> bool:
    """Whether the claim that is there belongs to the same Job. One of an earlier Job is told to go."""
    path = cluster.path("persistentvolumeclaims", claim["metadata"]["name"])
    try:
        there = cluster.call("GET", path)["metadata"]
        wanted = claim["metadata"]["ownerReferences"][0]["uid"]
        if wanted in [row["uid"] for row in there.get("ownerReferences") or ()]:
            return "deletionTimestamp" not in there
        cluster.call("DELETE", path)
    except RefusedError as exc:
        if exc.status != NOT_FOUND:
            raise
    return False
