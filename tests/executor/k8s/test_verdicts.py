# ruff: noqa: E501 - messages stand as they are
"""Whose fault it was: what clusters say of a pod, by the letter of their messages, and what we make of it.

The messages of 1.20 were seen on a node or stand in its source; those of later releases stand in theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoscorer.executor.base import StopReason
from autoscorer.executor.k8s.pod_facts import PodFacts, read_pod
from autoscorer.executor.k8s.verdicts import TABLE, Means, judge, refused_for_good, unstarted
from autoscorer.executor.k8s.waiting import to_error
from tests.executor.k8s.produced import NODE, PRODUCED, SCRIPTED, VERDICTS

RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def pod(
    main: dict[str, Any] | None = None,
    sidecar: dict[str, Any] | None = None,
    *,
    conditions: list[dict[str, Any]] | None = None,
    metadata: dict[str, Any] | None = None,
    **status: Any,
) -> dict[str, Any]:
    states = {"main": main or {}, "sidecar": sidecar or RUNNING}
    return {
        "metadata": metadata or {},
        "status": {
            **status,
            "conditions": conditions or [],
            "containerStatuses": [{"name": name, "state": state} for name, state in states.items()],
        },
    }


def evicted(message: str) -> dict[str, Any]:
    return pod(ended(137), ended(137), phase="Failed", reason="Evicted", message=message)


def pulling(message: str, reason: str = "ErrImagePull") -> dict[str, Any]:
    return pod(waits(reason, message), phase="Pending")


def disrupted(reason: str) -> dict[str, Any]:
    row = {"type": "DisruptionTarget", "status": "True", "reason": reason}
    return pod(ended(143), conditions=[row], phase="Failed")


PARTICIPANT = {
    "exit code": (pod(ended(7)), "exited"),
    "exit 137, killed by itself": (pod(ended(137)), "exited"),
    "exit 143, as if drained": (pod(ended(143)), "exited"),
    "OOMKilled": (pod(ended(137, "OOMKilled")), "exited"),
    "no such program (docker)": (pod(ended(127, "ContainerCannotRun", "exec: not found")), "exited"),
    "no such program (containerd)": (pod(ended(128, "StartError", "exec: not found")), "exited"),
    "a termination message that lies": (pod(ended(1, "Error", "Evicted: The node was low")), "exited"),
    "own emptyDir (1.20)": (
        evicted('Usage of EmptyDir volume "output" exceeds the limit "1Gi". '),
        "output_limit",
    ),
    "own emptyDir (1.28)": (
        evicted('Usage of EmptyDir volume "tmp" exceeds the limit "32Mi". '),
        "output_limit",
    ),
    "own ephemeral limit of the pod": (
        evicted("Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. "),
        "output_limit",
    ),
    "own ephemeral limit of the container": (
        evicted('Container main exceeded its local ephemeral storage limit "1Gi". '),
        "output_limit",
    ),
    "filled the node before it was noticed (1.20)": (
        evicted(
            "The node was low on resource: ephemeral-storage. Container main was using 9Gi, which exceeds its "
            "request of 1Gi. "
        ),
        "output_limit",
    ),
    "filled the node before it was noticed (1.27)": (
        evicted(
            "The node was low on resource: ephemeral-storage. Threshold quantity: 1, available: 0. Container main "
            "was using 9Gi, request is 1Gi, has larger consumption of ephemeral-storage. "
        ),
        "output_limit",
    ),
    "the sidecar found too much": (pod(RUNNING, ended(44)), "output_limit"),
    "the sidecar found too many": (pod(RUNNING, ended(43)), "output_limit"),
    "the sidecar could not go on": (pod(RUNNING, ended(2)), "OUTPUT_INVALID"),
    "past the pod's deadline": (pod(ended(137), phase="Failed", reason="DeadlineExceeded"), "time_limit"),
    "no such image": (
        pulling('rpc error: code = NotFound desc = failed to pull "x/y:1": not found'),
        "denied",
    ),
    "no access (docker)": (
        pulling(
            "rpc error: code = Unknown desc = Error response from daemon: pull access denied for secret/model, "
            "repository does not exist or may require 'docker login'"
        ),
        "denied",
    ),
    "no access (401)": (pulling("failed to authorize: unexpected status: 401 Unauthorized"), "denied"),
    "an image named after a time-out": (
        pulling('failed to pull image "timeout.example/connection-refused:503": manifest unknown'),
        "denied",
    ),
    "another platform": (
        pulling("no matching manifest for linux/amd64 in the manifest list"),
        "IMAGE_INVALID",
    ),
    "InvalidImageName": (pod(waits("InvalidImageName", "couldn't parse")), "IMAGE_INVALID"),
    "ErrImageNeverPull": (pod(waits("ErrImageNeverPull")), "IMAGE_NOT_PRESENT"),
    "an image without a command": (
        pod(waits("CreateContainerError", "No command specified")),
        "IMAGE_INVALID",
    ),
}
PLATFORM = {
    "node pressure, not of its making": (
        evicted(
            "The node was low on resource: ephemeral-storage. Container sidecar was using 8Ki, which exceeds its "
            "request of 0. "
        ),
        "gap",
    ),
    "node short of memory": (evicted("The node was low on resource: memory. "), "gap"),
    "preempted (1.26)": (disrupted("PreemptionByScheduler"), "gap"),
    "drained (1.26)": (disrupted("EvictionByEvictionAPI"), "gap"),
    "tainted (1.26)": (disrupted("DeletionByTaintManager"), "gap"),
    "node shut down (1.26)": (disrupted("TerminationByKubelet"), "gap"),
    "orphaned (1.26)": (disrupted("DeletionByPodGC"), "gap"),
    "preempted (1.20)": (pod(ended(137), phase="Failed", reason="Preempting"), "gap"),
    "node lost": (pod(RUNNING, phase="Running", reason="NodeLost"), "gap"),
    "node shut down (1.21)": (pod(ended(137), phase="Failed", reason="Shutdown"), "gap"),
    "no room on the node after all": (pod(phase="Failed", reason="OutOfcpu"), "gap"),
    "phase unknown": (pod(RUNNING, phase="Unknown"), "gap"),
    "deleted by hand": (pod(RUNNING, metadata={"deletionTimestamp": "now"}), "gap"),
    "deleted after it had ended": (pod(ended(0), metadata={"deletionTimestamp": "now"}), "gap"),
    "registry busy": (pulling("toomanyrequests: You have reached your pull rate limit"), "network"),
    "registry down": (pulling("received unexpected HTTP status: 503 Service Unavailable"), "network"),
    "no route": (pulling("dial tcp 10.0.0.1:443: i/o timeout", "ImagePullBackOff"), "network"),
    "disk full": (pulling("failed to register layer: write: no space left on device"), "network"),
    "nobody says why": (pulling('Back-off pulling image "x"', "ImagePullBackOff"), "network"),
    "a secret that is missing": (pod(waits("CreateContainerConfigError", "secret not found")), "CONTAINER_CREATE_FAILED"),
    "the runtime is slow": (pod(waits("CreateContainerError", "context deadline exceeded")), "CONTAINER_CREATE_FAILED"),
}  # fmt: skip
OPERATOR = {
    "node short of process ids": (evicted("The node was low on resource: pids. "), "RESOURCE_UNAVAILABLE"),
    "node short of inodes": (evicted("The node was low on resource: inodes. "), "RESOURCE_UNAVAILABLE"),
    "never started in time": (pod({}, phase="Failed", reason="DeadlineExceeded"), "RESOURCE_UNAVAILABLE"),
    "the sidecar's image": (pod({}, waits("ErrImagePull", "not found")), "RESOURCE_UNAVAILABLE"),
    "a volume that is not ours": (
        pod(ended(128, "StartError", 'mkdir "/x/workspace/input": read-only file system')),
        "RESOURCE_UNAVAILABLE",
    ),
}
GOES_ON = {
    "running": pod(RUNNING, phase="Running"),
    "creating": pod(waits("ContainerCreating"), waits("ContainerCreating"), phase="Pending"),
    "not scheduled yet": {"status": {"phase": "Pending"}},
}


def outcome_of(found: dict[str, Any]) -> tuple[str, str]:
    """What the verdict comes to, and whose fault that is."""
    verdict = judge(read_pod(found))
    assert verdict is not None
    if verdict.means is Means.STOPPED:
        assert verdict.stop in (StopReason.OUTPUT_LIMIT, StopReason.TIME_LIMIT, StopReason.MEMORY_LIMIT)
        return str(verdict.stop), "participant"
    if verdict.means is Means.ERROR:
        error = to_error(verdict)
        return error.cause or error.code, error.blame
    return str(verdict.means), "participant" if verdict.means is Means.EXITED else "platform"


@pytest.mark.parametrize("name", PARTICIPANT)
def test_what_a_program_can_bring_about_is_the_participants(name: str) -> None:
    assert outcome_of(PARTICIPANT[name][0]) == (PARTICIPANT[name][1], "participant")


@pytest.mark.parametrize("name", PLATFORM)
def test_what_only_the_cluster_can_bring_about_is_the_platforms(name: str) -> None:
    assert outcome_of(PLATFORM[name][0]) == (PLATFORM[name][1], "platform")


@pytest.mark.parametrize("name", OPERATOR)
def test_what_nobody_counts_or_the_operator_has_to_set_right_gives_no_second_try(name: str) -> None:
    assert outcome_of(OPERATOR[name][0]) == (OPERATOR[name][1], "operator")


@pytest.mark.parametrize("name", GOES_ON)
def test_what_is_under_way_is_not_judged(name: str) -> None:
    assert judge(read_pod(GOES_ON[name])) is None


def test_a_pod_that_is_gone_was_deleted() -> None:
    verdict = judge(PodFacts(gone=True))
    assert verdict is not None
    assert verdict.means is Means.GAP


def test_a_program_that_could_not_start_without_its_data_is_the_platforms() -> None:
    failed = pod(ended(128, "StartError", "mkdir /workspace/output: read-only file system"))
    verdict = judge(read_pod(failed, staged=False))
    assert verdict is not None
    assert verdict.means is Means.GAP


@pytest.mark.parametrize(
    ("message", "for_good"),
    [
        ('pods "x" is forbidden: exceeded quota: team, requested: cpu=1', False),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": seccompProfile', True),
        (
            'pods "x" is forbidden: error looking up service account default/default: serviceaccount not found',
            True,
        ),
        ("Internal error occurred: failed calling webhook: connection refused", False),
        ('admission webhook "validate.example" denied the request', True),
    ],
)
def test_a_quota_passes_and_a_rule_does_not(message: str, for_good: bool) -> None:
    assert refused_for_good(message) is for_good
    error = to_error(unstarted(None, (message,)))
    assert (error.code, error.blame) == ("RESOURCE_UNAVAILABLE", "operator")


def test_every_row_is_known_to_be_produced_by_a_cluster_or_only_written_down() -> None:
    assert {row.when for row in TABLE} == set(PRODUCED)
    folder = Path(__file__).parent
    for when, where in PRODUCED.items():
        assert (folder / where).exists(), when
    assert sum(where != SCRIPTED for where in PRODUCED.values()) >= 16


def test_the_tests_on_a_cluster_name_the_rows_they_produce() -> None:
    for when, where in PRODUCED.items():
        if where in (VERDICTS, NODE):
            text = (Path(__file__).parent / where).read_text(encoding="utf-8")
            assert when.removeprefix("pulling failed").removeprefix(": ").strip() in text, when
