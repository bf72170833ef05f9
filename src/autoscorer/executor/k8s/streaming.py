"""The transport *stream*: data go in and out through the API server, by commands in our helper container."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from autoscorer.executor.base import AttemptPlan, StopReason, StopSignal
from autoscorer.executor.k8s import scripts
from autoscorer.executor.k8s.client import Cluster, RefusedError, UnreachableError, said
from autoscorer.executor.k8s.commands import RemoteCommand
from autoscorer.executor.k8s.naming import HELPER
from autoscorer.executor.k8s.packing import Package
from autoscorer.harvest import Harvest, HarvestPolicy, Taking
from autoscorer.harvest_stream import harvest_stream
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.errors import AutoscorerError

TRIES = 3


class StoppedError(Exception):
    """The job is to stop; ``reason`` says why."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(str(reason))
        self.reason = reason


def bring_in(cluster: Cluster, pod: str, package: Package, *, stop: StopSignal) -> None:
    """Give the helper the data; when it has them, the program may start. Safe to do again.

    Raises StoppedError; RefusedError or UnreachableError when the connection was lost, EXEC_ERROR when the
    helper cannot take them.
    """
    script = scripts.receive_script(package.length, secrets.token_hex(8))

    def chunks() -> Iterator[bytes]:
        for chunk in package.chunks():
            if reason := stop():
                raise StoppedError(reason)
            yield chunk

    with RemoteCommand(cluster, pod, HELPER, ["sh", "-c", script], takes_input=True) as command:
        command.write(chunks())
        code = command.exit_code()
        if code != 0:
            details = {"exit_code": code, "helper": said(command.stderr.decode("utf-8", "replace"))}
            raise AutoscorerError("EXEC_ERROR", "The job's data could not be brought into its pod.", details)


def take_output(
    cluster: Cluster, pod: str, plan: AttemptPlan, target: Path, policy: HarvestPolicy
) -> Harvest:
    """Harvest what the program left, as a tar that the helper writes; a broken connection is tried again.

    Raises OUTPUT_INVALID, OUTPUT_LIMIT, and CONTAINER_WAIT_FAILED when the pod cannot be reached any more.
    """
    return _several_times(lambda: _take_once(cluster, pod, plan, target, policy))


def _several_times(take: Callable[[], Harvest]) -> Harvest:
    for tries in range(1, TRIES + 1):
        try:
            return take()
        except (RefusedError, UnreachableError) as exc:
            if tries == TRIES:
                message = "The pod was lost before its output had been taken."
                details = {"engine": said(str(exc))}
                raise AutoscorerError("CONTAINER_WAIT_FAILED", message, details) from exc
    raise AssertionError


def _take_once(cluster: Cluster, pod: str, plan: AttemptPlan, target: Path, policy: HarvestPolicy) -> Harvest:
    remove_tree(target)
    script = ["sh", "-c", scripts.send_script(plan.limits)]
    with RemoteCommand(cluster, pod, HELPER, script) as command:
        early = command.read(1)
        if not early:
            _check_end(command, policy)
        taken = harvest_stream(_Rest(early, command), target, policy)
        _check_end(command, policy)
        return taken


class _Rest:
    """A command's output, the first bytes of which were looked at already."""

    def __init__(self, early: bytes, command: RemoteCommand) -> None:
        self._early = early
        self._command = command

    def read(self, size: int, /) -> bytes:
        if self._early:
            piece, self._early = self._early[:size], self._early[size:]
            return piece
        return self._command.read(size)


def _check_end(command: RemoteCommand, policy: HarvestPolicy) -> None:
    """Raise unless the helper read everything: what it cannot read, the program made so."""
    code = command.exit_code()
    if code == scripts.OVER_ENTRIES:
        Taking(policy).too_much("entries", policy.max_entries)
    if code == scripts.OVER_DEPTH:
        Taking(policy).refuse((), f"is deeper than {policy.max_depth} folders")
    if code == scripts.SOCKET:
        Taking(policy).refuse((), "holds a socket; only regular files are taken")
    if code != 0:
        text = said(command.stderr.decode("utf-8", "backslashreplace"))
        message = "output/ holds something that cannot be read"
        raise AutoscorerError("OUTPUT_INVALID", message, {"helper": ascii(text)[1:-1]}, stage=policy.stage)
