"""Data into a sidecar container and out of it again, by commands there; who runs them is not asked."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from autoscorer.executor.base import Limits, StopReason, StopSignal
from autoscorer.executor.streaming import scripts
from autoscorer.executor.streaming.packing import Package
from autoscorer.harvest import Harvest, HarvestPolicy, Taking
from autoscorer.harvest_stream import harvest_stream
from autoscorer.unpacking.tar_stream import CutOffError
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.errors import AutoscorerError

TRIES = 3
_KILLED = 128 + signal.SIGKILL


class Command(Protocol):
    """A command in the sidecar. What is wrong with the connection is raised as one of `Sidecar.lost`."""

    stderr: bytes

    def write(self, chunks: Iterable[bytes], /) -> None:
        """Give it its standard input, which has no end."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes of its output; nothing when it has ended."""

    def exit_code(self) -> int:
        """Wait for its end, whatever it still writes."""


class RunCommand(Protocol):
    """Starts a command in the sidecar; its end of the connection is closed with the block."""

    def __call__(self, command: Sequence[str], /, *, takes_input: bool) -> AbstractContextManager[Command]:
        """``takes_input``: whether it is given something on its standard input."""


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """The container of ours beside a program's, which shares its data and no more.

    ``lost`` are the errors of a connection that broke, ``said`` makes its words fit to show, ``preface`` is
    what its shell does before it takes data.
    """

    run: RunCommand
    lost: tuple[type[Exception], ...]
    said: Callable[[str], str]
    preface: str = ""


class StoppedError(Exception):
    """The job is to stop; ``reason`` says why."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(str(reason))
        self.reason = reason


def bring_in(sidecar: Sidecar, package: Package, *, stop: StopSignal) -> None:
    """Give the sidecar the data; when it has them, the program may start. Safe to do again.

    Raises StoppedError; one of `Sidecar.lost` when the connection was lost, EXEC_ERROR when the sidecar
    cannot take them.
    """
    script = sidecar.preface + scripts.receive_script(package.length, secrets.token_hex(8))

    def chunks() -> Iterator[bytes]:
        for chunk in package.chunks():
            if reason := stop():
                raise StoppedError(reason)
            yield chunk

    with sidecar.run(["sh", "-c", script], takes_input=True) as command:
        command.write(chunks())
        code = command.exit_code()
        if code != 0:
            words = sidecar.said(command.stderr.decode("utf-8", "replace"))
            details = {"exit_code": code, "sidecar": words}
            raise AutoscorerError(
                "EXEC_ERROR", "The job's data could not be brought to its container.", details
            )


def take_output(sidecar: Sidecar, limits: Limits, target: Path, policy: HarvestPolicy) -> Harvest:
    """Harvest what the program left, as a tar that the sidecar writes; a broken connection is tried again.

    So is a tar that is not whole, whatever its writer says, or whose writer was killed: others may kill the
    sidecar. What kills it at every try is what it reads.
    Raises OUTPUT_INVALID, OUTPUT_LIMIT, and CONTAINER_WAIT_FAILED when the sidecar is out of reach.
    """
    passing: tuple[type[Exception], ...] = (*sidecar.lost, CutOffError)
    for tries in range(1, TRIES + 1):
        try:
            return _take_once(sidecar, limits, target, policy, is_last=tries == TRIES)
        except passing as exc:
            if tries == TRIES:
                message = "The container was lost before its output had been taken."
                details = {"engine": sidecar.said(str(exc))}
                raise AutoscorerError("CONTAINER_WAIT_FAILED", message, details) from exc
    raise AssertionError


def _take_once(
    sidecar: Sidecar, limits: Limits, target: Path, policy: HarvestPolicy, *, is_last: bool
) -> Harvest:
    remove_tree(target)
    with sidecar.run(["sh", "-c", scripts.send_script(limits)], takes_input=False) as command:
        try:
            taken = harvest_stream(command, target, policy)
        except CutOffError:
            _check_end(sidecar, command, policy, is_last=is_last)  # what its writer tells of comes first
            raise
        _check_end(sidecar, command, policy, is_last=is_last)
        return taken


def _check_end(sidecar: Sidecar, command: Command, policy: HarvestPolicy, *, is_last: bool) -> None:
    """Raise unless the sidecar read everything: what it cannot read, the program made so."""
    code = command.exit_code()
    if code in (_KILLED, scripts.UNCOUNTED) and not is_last:
        raise CutOffError("its writer, or who counted for it, was killed")
    if code == scripts.OVER_ENTRIES:
        Taking(policy).too_much("entries", policy.max_entries)
    if code == scripts.OVER_DEPTH:
        Taking(policy).refuse((), f"is deeper than {policy.max_depth} folders")
    if code == scripts.SOCKET:
        Taking(policy).refuse((), "holds a socket; only regular files are taken")
    if code != 0:
        text = sidecar.said(command.stderr.decode("utf-8", "backslashreplace"))
        message = "output/ holds something that cannot be read"
        raise AutoscorerError("OUTPUT_INVALID", message, {"sidecar": ascii(text)[1:-1]}, stage=policy.stage)
