"""How a container's end reads as an outcome: pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoscorer.confine.logs import readable_tail
from autoscorer.executor.base import Isolation, RunOutcome, StopReason
from autoscorer.executor.docker.containers import StartRefused
from autoscorer.executor.docker.seccomp import security_option
from autoscorer.executor.docker.types import EngineFacts, RunnableImage
from autoscorer.executor.docker.waiting import ContainerEnd

KILLED = 137
# Of the engine's answer, what helps to find a cause; no environment and no path of the host.
_INSPECTED = ("Id", "Name", "Created", "Image", "Path", "RestartCount", "Driver", "Platform", "State")
_HOST_CONFIG_LEFT_OUT = ("Mounts", "Binds", "ContainerIDFile")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What we measured and kept ourselves."""

    peak_memory_bytes: int | None
    cpu_seconds: float | None
    oom_kills: int
    stderr_tail: str
    log_bytes_dropped: int


def run_facts(image: RunnableImage, engine: EngineFacts) -> dict[str, Any]:
    """What is recorded of every run in a container (SPEC R3)."""
    facts = {
        "image": image.name,
        "image_id": image.image_id,
        "image_digest": image.repo_digest or image.image_id,
        "engine_version": engine.version,
        "pull_seconds": image.pull_seconds,
        "image_warnings": list(image.warnings) or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def ended_outcome(
    end: ContainerEnd,
    measured: Measured,
    *,
    breach: Mapping[str, Any] | None,
    output_is_capped: bool,
    isolation: Isolation,
    facts: Mapping[str, Any],
) -> RunOutcome:
    """``breach`` is what was written beyond the limit, if it was.

    Where the kernel held the limit, a program that hit it and succeeded all the same is let be: what
    it left is measured when it is harvested.
    """
    exit_code = end.state.exit_code if end.state is not None else None
    stopped = end.stopped
    if stopped is None and end.gap is None and breach and not (output_is_capped and exit_code == 0):
        stopped = StopReason.OUTPUT_LIMIT
    oom_killed = end.state is not None and end.state.oom_killed
    details = dict(facts) | {"oom_kills": max(measured.oom_kills, int(oom_killed))}
    if breach:
        details["output"] = dict(breach)
    if end.gap is not None:
        details["engine_gap"] = end.gap
    if end.state is not None:
        details["inspect"] = inspected(end.state.raw)
    return RunOutcome(
        # Nothing of what an engine says that was away is the program's.
        exit_code=exit_code if end.gap is None else None,
        signal=None,
        stopped=stopped,
        duration_s=end.duration_s,
        peak_memory_bytes=measured.peak_memory_bytes,
        cpu_seconds=measured.cpu_seconds,
        stderr_tail=measured.stderr_tail,
        log_bytes_dropped=measured.log_bytes_dropped,
        isolation=isolation,
        details=details,
    )


def refused_outcome(refused: StartRefused, *, isolation: Isolation, facts: Mapping[str, Any]) -> RunOutcome:
    """A program that never ran, for a reason of its own: as a shell has it, 126, 127 or killed."""
    return RunOutcome(
        exit_code=refused.exit_code,
        signal=None,
        stopped=None,
        duration_s=0.0,
        peak_memory_bytes=None,
        cpu_seconds=None,
        stderr_tail=readable_tail(refused.reason.encode()),
        log_bytes_dropped=0,
        isolation=isolation,
        details=dict(facts) | {"oom_kills": int(refused.exit_code == KILLED)},
    )


def inspected(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Of the engine's whole answer, what may be kept: no environment, no path of the host."""
    shown = {key: raw[key] for key in _INSPECTED if key in raw}
    host_config = raw.get("HostConfig") or {}
    shown["HostConfig"] = {k: v for k, v in host_config.items() if k not in _HOST_CONFIG_LEFT_OUT}
    options = host_config.get("SecurityOpt") or ()
    ours = security_option()
    shown["HostConfig"]["SecurityOpt"] = ["seccomp=autoscorer" if o == ours else o for o in options]
    shown["Mounts"] = [
        {key: mount.get(key) for key in ("Type", "Destination", "RW", "Propagation")}
        for mount in raw.get("Mounts") or ()
    ]
    return shown
