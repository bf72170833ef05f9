"""The right to write in a workspace: one holder at a time, taken over from one whose lease is gone.

A holder has a desk, a folder of its own under `.attempts/`, and changes `output/` and `logs/` by renames
from it or to it. Into one that is a mount of its own it copies beside the place, and renames there if the
desk still stands. Who takes over moves the former desk away first: a holder that was asleep finds nothing
to rename, whenever it wakes (docs/adr/0013).
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoscorer.locking import Holder, Signature, acquire, sweep
from autoscorer.schemas.job import SpecFault, spec_error
from autoscorer.utils.artifacts import copy_entry, remove_tree, write_json
from autoscorer.utils.errors import disk_full
from autoscorer.workspace import Attempt, Workspace

_DESK, _FORMER, _GONE = ".desk-", "former", ".gone-"


class FencedError(Exception):
    """Raised when the holder may not write any more. What it did is to be thrown away, and told to nobody."""


@dataclass(frozen=True)
class Claim:
    """A workspace that is held. Every method raises `FencedError` once another has taken it over."""

    workspace: Workspace
    desk: Path
    guard: Callable[[], None]
    _signature: Signature

    def new_attempt(self) -> Attempt:
        """A fresh, private folder for one attempt; numbers only grow."""
        there = self.workspace.attempts()
        self._signature.last_attempt = (
            max((self._signature.last_attempt, *(attempt.number for attempt in there))) + 1
        )
        self._signature.write()
        return self.workspace.new_attempt(self.desk.name, after=self._signature.last_attempt - 1)

    def publish(self, attempt: Attempt, fresh: Path, output_dir: Path) -> None:
        """Make ``fresh`` the workspace's output; the former output moves into ``attempt``."""
        former, prepared = self.desk / _FORMER, self.desk / "fresh"
        with self._fenced():
            fresh.rename(prepared)
            try:
                if os.path.lexists(output_dir):
                    self._move(output_dir, former)
                output_dir.parent.mkdir(parents=True, exist_ok=True)
                self._move(prepared, output_dir)
            except OSError as exc:
                if exc.errno != errno.EBUSY:
                    raise
                former.mkdir()  # a mount cannot be moved; what is in it can
                self._move_content(output_dir, former)
                self._move_content(prepared, output_dir)
            if os.path.lexists(former):
                former.rename(attempt.previous_output)

    def put(self, prepared: Path, target: Path) -> None:
        """Make ``prepared``, which lies on the desk, stand at ``target``, whatever stood there."""
        with self._fenced():
            self._clear(target)
            self._move(prepared, target)

    def remove(self, target: Path) -> None:
        """Take away what stands at ``target``. Nothing there is no error."""
        with self._fenced():
            self._clear(target)

    def write_json(self, path: Path, value: Any) -> None:
        """Write a file of ours at ``path``, whole or not at all."""
        with self._fenced():
            prepared = self.desk / f"{secrets.token_hex(4)}.json"
            write_json(prepared, value)
            if path.is_dir() and not path.is_symlink():
                self._clear(path)
            self._move(prepared, path)

    def _clear(self, target: Path) -> None:
        if os.path.lexists(target):
            removed = self.desk / f"removed-{secrets.token_hex(4)}"
            try:
                target.rename(removed)
            except OSError as exc:
                if exc.errno != errno.EXDEV:
                    raise
                removed = _beside(target)
                self.desk.stat()  # an OSError once it is gone
                target.rename(removed)
            remove_tree(removed)

    def _move(self, source: Path, target: Path) -> None:
        try:
            source.rename(target)
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise
            self._move_across(source, target)

    def _move_across(self, source: Path, target: Path) -> None:
        """Move to another file system: a copy beside ``target``, renamed there if the desk still stands."""
        copied = _beside(target)
        try:
            copy_entry(source, copied)
            self.desk.stat()  # an OSError once it is gone
            copied.rename(target)
        except BaseException:  # clean-up: no part of a copy stays
            remove_tree(copied)
            raise
        self._clear(source)

    def _move_content(self, source: Path, target: Path) -> None:
        for entry in list(source.iterdir()):
            self._move(entry, target / entry.name)

    @contextmanager
    def _fenced(self) -> Iterator[None]:
        self.guard()
        try:
            yield
        except OSError as exc:
            if not self.desk.is_dir():
                raise FencedError("another has taken the workspace over") from exc
            raise


@contextmanager
def claim(workspace: Workspace, holder: Holder | None = None) -> Iterator[Claim]:
    """Hold the workspace alone; what dead holders left in `.attempts/` is removed.

    Raises WORKSPACE_BUSY naming the holder's process, CONFIG_VALIDATION_ERROR where nothing can be written.
    """
    holder = holder or Holder()
    faults = workspace.structure_faults()
    if faults:
        raise spec_error(faults, cause="workspace")
    signature = acquire(workspace.root, holder)
    try:
        held = Claim(workspace, _make_desk(workspace), holder.guard, signature)
        try:
            sweep(workspace.root)
            _sweep(held)
            yield held
        finally:
            with suppress(OSError):
                remove_tree(held.desk)
    finally:
        os.close(signature.descriptor)


def clear_attempt(attempt: Attempt) -> None:
    """Remove an attempt whose process is known to be dead, and its holder's desk; a former output is kept."""
    owner = attempt.owner()
    if owner.startswith(_DESK) and "/" not in owner:
        with suppress(OSError):  # gone already, or whoever holds the workspace by now removes it as well
            _clear_desk(attempt.workspace.attempts_dir / owner, attempt.workspace.new_attempt)
    attempt.discard()


def _beside(path: Path) -> Path:
    return path.with_name(f".autoscorer-{secrets.token_hex(8)}.part")


def _make_desk(workspace: Workspace) -> Path:
    desk = workspace.attempts_dir / f"{_DESK}{secrets.token_hex(8)}"
    try:
        workspace.attempts_dir.mkdir(exist_ok=True)
        desk.mkdir(mode=0o700)
    except OSError as exc:
        fault = SpecFault(".attempts", f"cannot be made: {exc.strerror}")
        raise disk_full(exc) or spec_error([fault], cause="workspace") from exc
    return desk


def _sweep(held: Claim) -> None:
    """Fence every former holder, then remove what it left. An output that it had moved away is kept."""
    attempts_dir = held.workspace.attempts_dir
    for name in os.listdir(attempts_dir):
        if name != held.desk.name and name.startswith((_DESK, _GONE)):
            with suppress(OSError):
                _clear_desk(attempts_dir / name, held.new_attempt)
    for attempt in held.workspace.attempts():
        owner = attempt.owner()
        # A mount in it belongs to a container, which the backend's reaper knows how to end.
        if owner and owner != held.desk.name and not attempt.out_dir.is_mount():
            with suppress(OSError):
                attempt.discard()


def _clear_desk(desk: Path, new_attempt: Callable[[], Attempt]) -> None:
    gone = desk.with_name(f"{_GONE}{secrets.token_hex(8)}")
    desk.rename(gone)
    if os.path.lexists(gone / _FORMER):
        attempt = new_attempt()
        (gone / _FORMER).rename(attempt.previous_output)
        attempt.keep()
    remove_tree(gone)
