"""How a pod's end reads as an outcome: pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from autoscorer.confine.logs import readable_tail
from autoscorer.executor.base import Isolation, RunOutcome, StopReason
from autoscorer.executor.k8s.naming import MAIN
from autoscorer.executor.k8s.verdicts import Means
from autoscorer.executor.k8s.waiting import LATENESS_S, PodEnd

NOT_FOUND, NOT_EXECUTABLE = 127, 126
LATE_S = LATENESS_S + 1.0  # the kubelet's times are whole seconds
_START_CODES = (
    (re.compile(r"not found|no such file", re.IGNORECASE), NOT_FOUND),
    (re.compile(r"permission denied|exec format error|is a directory", re.IGNORECASE), NOT_EXECUTABLE),
)
_HOST_PATH = re.compile(r"/var/\S+|/run/\S+")
_KEPT = ("phase", "reason", "message", "conditions", "containerStatuses", "startTime", "qosClass")


def run_facts(pod: Mapping[str, Any], *, image: str, pull_seconds: float | None) -> dict[str, Any]:
    """What is recorded of every run in a pod (SPEC R3)."""
    rows = (pod.get("status") or {}).get("containerStatuses") or ()
    status: Mapping[str, Any] = next((row for row in rows if row.get("name") == MAIN), {})
    image_id = str(status.get("imageID", "")).removeprefix("docker-pullable://").removeprefix("docker://")
    digest = re.search(r"sha256:[0-9a-f]{64}", image_id)
    facts = {
        "image": image,
        "image_id": image_id or None,
        "image_digest": digest[0] if digest else None,
        "pod_uid": (pod.get("metadata") or {}).get("uid"),
        "node": (pod.get("spec") or {}).get("nodeName"),
        "pull_seconds": pull_seconds,
    }
    return {name: value for name, value in facts.items() if value is not None}


def ended_outcome(
    end: PodEnd,
    *,
    duration_s: float,
    time_limit_s: float,
    stderr_tail: str,
    log_bytes_dropped: int,
    log_is_complete: bool,
    breach: Mapping[str, Any] | None,
    isolation: Isolation,
    facts: Mapping[str, Any],
) -> RunOutcome:
    """``breach`` is what was written beyond the limit, if we saw it ourselves.

    A program that ended by itself beyond its time limit did so while nobody was there to stop it.
    """
    details, verdict = dict(facts), end.verdict
    stopped = end.stopped or (verdict.stop if verdict and verdict.means is Means.STOPPED else None)
    ended = end.facts.ended or {}
    exit_code: int | None = None
    if verdict and verdict.means is Means.GAP and stopped is None:
        details["engine_gap"] = verdict.text
    elif verdict and verdict.means is Means.EXITED:
        exit_code = int(ended.get("exitCode", 1))
        details["oom_kills"] = int(ended.get("reason") == "OOMKilled")
        if ended.get("reason") in ("ContainerCannotRun", "StartError"):
            exit_code, stderr_tail = _start_failure(str(ended.get("message", "")), exit_code)
    if breach and stopped is None and exit_code is not None:
        stopped = StopReason.OUTPUT_LIMIT
    if stopped is None and exit_code is not None and duration_s > time_limit_s + LATE_S:
        stopped = StopReason.TIME_LIMIT
    if verdict and verdict.means is Means.STOPPED:
        details["cluster"] = verdict.text
    if breach:
        details["output"] = dict(breach)
    if not log_is_complete:
        details["log_is_complete"] = False
    return RunOutcome(
        exit_code=exit_code,
        signal=None,
        stopped=stopped,
        duration_s=duration_s,
        peak_memory_bytes=None,
        cpu_seconds=None,
        stderr_tail=stderr_tail,
        log_bytes_dropped=log_bytes_dropped,
        isolation=isolation,
        details=details,
    )


def _start_failure(message: str, exit_code: int) -> tuple[int, str]:
    """As a shell has it; what the runtime says, without paths of the node."""
    code = next((code for pattern, code in _START_CODES if pattern.search(message)), exit_code)
    return code, readable_tail(_HOST_PATH.sub("<path>", message)[:1000].encode())


def inspected(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Of the pod as the cluster tells of it, what may be kept: no environment, no address, no path."""
    status = pod.get("status") or {}
    return {
        "name": (pod.get("metadata") or {}).get("name"),
        "node": (pod.get("spec") or {}).get("nodeName"),
        "status": {key: status[key] for key in _KEPT if key in status},
    }
