"""What the cluster says of a pod at one look, taken out of its long words and not judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoscorer.executor.k8s.naming import MAIN, SIDECAR


@dataclass(frozen=True, kw_only=True)
class PodFacts:
    """What one look at a pod says, without judging it. Times are the cluster's, in whole seconds."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    deleted: bool = False
    gone: bool = False
    disruption: str = ""
    scheduled: bool = False
    unschedulable: str = ""
    main: Mapping[str, Any] = field(default_factory=dict)
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    unheard: bool = False
    """Its node has not been heard of for a while: what is known of its containers may be old."""
    staged: bool = True
    """The data were complete before the program could start."""

    @property
    def waiting(self) -> tuple[str, str]:
        """Why a container of it does not start, and what is said of that; of the sidecar first."""
        for state in (self.sidecar, self.main):
            waiting = state.get("waiting") or {}
            if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                return str(waiting["reason"]), str(waiting.get("message", ""))
        return "", ""

    @property
    def ended(self) -> Mapping[str, Any] | None:
        """How the program ended, if the cluster has told."""
        found: Mapping[str, Any] | None = self.main.get("terminated")
        return found

    @property
    def began(self) -> bool:
        """Whether the program was ever there."""
        return self.running or self.ended is not None

    @property
    def running(self) -> bool:
        return "running" in self.main


def read_pod(pod: Mapping[str, Any], *, staged: bool = True) -> PodFacts:
    """The facts of a pod as the API gives it."""
    status, metadata = pod.get("status") or {}, pod.get("metadata") or {}
    states = {row.get("name"): row.get("state") or {} for row in status.get("containerStatuses") or ()}
    conditions = {row.get("type"): row for row in status.get("conditions") or ()}
    disruption, scheduled = conditions.get("DisruptionTarget") or {}, conditions.get("PodScheduled") or {}
    # Of pods that run well only the control plane says this, when it has lost their node.
    unheard = _is(conditions, "Ready", "False") and _is(conditions, "ContainersReady", "True")
    refused = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    return PodFacts(
        phase=str(status.get("phase", "")),
        reason=str(status.get("reason", "")),
        message=str(status.get("message", "")),
        deleted="deletionTimestamp" in metadata,
        disruption=str(disruption.get("reason", "")) if disruption.get("status") == "True" else "",
        scheduled=scheduled.get("status") == "True",
        unschedulable=str(scheduled.get("message", "")) if refused else "",
        main=states.get(MAIN, {}),
        sidecar=states.get(SIDECAR, {}),
        unheard=unheard,
        staged=staged,
    )


def _is(conditions: Mapping[str, Mapping[str, Any]], kind: str, status: str) -> bool:
    return (conditions.get(kind) or {}).get("status") == status
