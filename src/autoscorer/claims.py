"""The right to write in a workspace: one holder at a time, taken over from one whose lease is gone.

A holder has a desk, a folder of its own under `.attempts/`, and changes `output/` and `logs/` by renames
from it or to it, nothing else. Who takes over moves the former desk away first: a holder that was asleep
finds nothing to rename, whenever it wakes (docs/adr/0013).
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoscorer.schemas.job import SpecFault, spec_error
from autoscorer.utils.artifacts import remove_tree, write_json
from autoscorer.utils.errors import AutoscorerError
from autoscorer.workspace import Attempt, Workspace

LOCK_NAME = ".autoscorer.lock"
POLL_S = 0.1
DOOR_TRIES = 200  # of 5 ms: longer than the few calls somebody needs at the door
_DESK, _FORMER, _GONE = ".desk-", "former", ".gone-"
# O_NONBLOCK: a pipe of that name must not make us wait.
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FencedError(Exception):
    """Raised when the holder may not write any more. What it did is to be thrown away, and told to nobody."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who wants to write.

    ``lease`` names what it works under, empty for a process that only has itself. ``is_over`` says of
    another holder's lease whether it has ended. ``keep_waiting`` is asked while somebody else holds the
    workspace. ``guard`` is called before every change and raises `FencedError` if the lease is lost.
    """

    lease: str = ""
    is_over: Callable[[str], bool] = lambda _lease: False
    keep_waiting: Callable[[], bool] = lambda: False
    guard: Callable[[], None] = _nothing


@dataclass(kw_only=True)
class _Signature:
    """What a holder writes into the lock file, in its own copy of it: who it is, and the last attempt.

    A number is never given twice, so that no two attempts share a folder's name, awake or asleep.
    """

    descriptor: int
    pid: str
    lease: str
    last_attempt: int

    @classmethod
    def read(cls, descriptor: int) -> _Signature:
        """What stands there; empty or nought what does not."""
        lines = os.pread(descriptor, 1024, 0).decode("ascii", "replace").split("\n")
        pid, lease, last, *_ = (*(line.strip() for line in lines), "", "", "")
        number = int(last) if last.isascii() and last.isdecimal() and len(last) < 10 else 0
        return cls(descriptor=descriptor, pid=pid, lease=lease, last_attempt=number)

    def write(self) -> None:
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{self.pid}\n{self.lease}\n{self.last_attempt}\n".encode(), 0)


@dataclass(frozen=True)
class Claim:
    """A workspace that is held. Every method raises `FencedError` once another has taken it over."""

    workspace: Workspace
    desk: Path
    guard: Callable[[], None]
    _signature: _Signature

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
        former = self.desk / _FORMER
        with self._fenced():
            fresh.rename(self.desk / "fresh")
            if os.path.lexists(output_dir):
                output_dir.rename(former)
            output_dir.parent.mkdir(parents=True, exist_ok=True)
            (self.desk / "fresh").rename(output_dir)
            if os.path.lexists(former):
                former.rename(attempt.previous_output)

    def put(self, prepared: Path, target: Path) -> None:
        """Make ``prepared``, which lies on the desk, stand at ``target``, whatever stood there."""
        with self._fenced():
            self._clear(target)
            prepared.rename(target)

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
            prepared.rename(path)

    def _clear(self, target: Path) -> None:
        if os.path.lexists(target):
            removed = self.desk / f"removed-{secrets.token_hex(4)}"
            target.rename(removed)
            remove_tree(removed)

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
    signature = _acquire(workspace.root, holder)
    try:
        held = Claim(workspace, _make_desk(workspace), holder.guard, signature)
        try:
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


def _acquire(root: Path, holder: Holder) -> _Signature:
    """Our signature in the locked lock file that stands at its name."""
    while True:
        with _door(root):
            descriptor = _open_lock(root)
            try:
                former = _Signature.read(descriptor)
                if _is_free(descriptor):
                    return _signed(descriptor, holder, former)
                if former.lease and holder.is_over(former.lease):
                    return _take_over(root, holder, former)
            except BaseException:  # clean-up: an interrupt leaves no lock held
                os.close(descriptor)
                raise
            os.close(descriptor)
        if not holder.keep_waiting():
            raise _busy(former.pid)
        time.sleep(POLL_S)


def _signed(descriptor: int, holder: Holder, former: _Signature) -> _Signature:
    signature = _Signature(
        descriptor=descriptor, pid=str(os.getpid()), lease=holder.lease, last_attempt=former.last_attempt
    )
    signature.write()
    return signature


def _take_over(root: Path, holder: Holder, former: _Signature) -> _Signature:
    """Put a lock file of our own in the place of the one that its holder will not give back."""
    fresh = root / f"{LOCK_NAME}.{secrets.token_hex(8)}"
    descriptor = os.open(fresh, _LOCK_FLAGS | os.O_EXCL, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        signature = _signed(descriptor, holder, former)
        fresh.rename(root / LOCK_NAME)
    except BaseException:  # clean-up: what was not put in place is removed
        fresh.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    os.close(former.descriptor)
    return signature


@contextmanager
def _door(root: Path) -> Iterator[None]:
    """One at a time decides who holds the workspace: a short lock on the folder itself.

    Without it, one who takes an abandoned lock file over and one who finds it free could both go on.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(DOOR_TRIES):
            if _is_free(descriptor):
                break
            time.sleep(0.005)
        else:
            raise _busy("")
        yield
    finally:
        os.close(descriptor)


def _open_lock(root: Path) -> int:
    try:
        descriptor = os.open(root / LOCK_NAME, _LOCK_FLAGS, 0o644)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is no plain file of its own")
    except OSError as exc:
        raise _unwritable(LOCK_NAME, exc) from exc
    return descriptor


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy(pid: str) -> AutoscorerError:
    message = f"process {pid or 'unknown'} is working on this workspace"
    return AutoscorerError("WORKSPACE_BUSY", message, {"pid": pid})


def _unwritable(name: str, exc: OSError) -> AutoscorerError:
    return spec_error([SpecFault(name, f"cannot be opened: {exc.strerror}")], cause="workspace")


def _make_desk(workspace: Workspace) -> Path:
    desk = workspace.attempts_dir / f"{_DESK}{secrets.token_hex(8)}"
    try:
        workspace.attempts_dir.mkdir(exist_ok=True)
        desk.mkdir(mode=0o700)
    except OSError as exc:
        raise _unwritable(".attempts", exc) from exc
    return desk


def _sweep(held: Claim) -> None:
    """Fence every former holder, then remove what it left. An output that it had moved away is kept."""
    for entry in list(held.workspace.attempts_dir.iterdir()):
        if entry != held.desk and entry.name.startswith((_DESK, _GONE)):
            with suppress(OSError):
                _clear_desk(entry, held.new_attempt)
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
