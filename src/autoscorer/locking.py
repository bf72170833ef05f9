"""The lock of a workspace: a signed file, put in its place whole, replaced only if it is the one judged.

A lock file is made beside its name, locked and signed, and only then put there, in one step of the
kernel. So whoever stops in the middle holds nothing, or holds it by name and can be taken over.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import secrets
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autoscorer.schemas.job import SpecFault, spec_error
from autoscorer.utils.errors import AutoscorerError, disk_full

LOCK_NAME = ".autoscorer.lock"
POLL_S = 0.1
# O_NONBLOCK: a pipe of that name must not make us wait.
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_AT_FDCWD, _NOREPLACE, _EXCHANGE = -100, 1, 2


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
class Signature:
    """What stands in a lock file: who holds it, and the last attempt's number.

    A number is never given twice, so that no two attempts share a folder's name, awake or asleep.
    """

    descriptor: int
    pid: str
    lease: str
    last_attempt: int

    @classmethod
    def read(cls, descriptor: int) -> Signature:
        """What stands there; empty or nought what does not."""
        lines = os.pread(descriptor, 1024, 0).decode("ascii", "replace").split("\n")
        pid, lease, last, *_ = (*(line.strip() for line in lines), "", "", "")
        number = int(last) if last.isascii() and last.isdecimal() and len(last) < 10 else 0
        return cls(descriptor=descriptor, pid=pid, lease=lease, last_attempt=number)

    def write(self) -> None:
        """In one call, and no shorter than before: nobody reads it half."""
        text = f"{self.pid}\n{self.lease}\n{self.last_attempt:09}\n"
        os.pwrite(self.descriptor, text.encode(), 0)


def acquire(root: Path, holder: Holder) -> Signature:
    """Our signature, in the locked file that stands at the lock's name. Close its descriptor to let go.

    Raises WORKSPACE_BUSY naming the holder's process, CONFIG_VALIDATION_ERROR where nothing can be written.
    """
    while True:
        # Whoever sweeps may take a file that is not locked yet for one that a dead process has left.
        with suppress(FileNotFoundError, BlockingIOError):
            return _acquired(root, holder)


def _acquired(root: Path, holder: Holder) -> Signature:
    fresh = root / f"{LOCK_NAME}.{secrets.token_hex(8)}"
    try:
        descriptor = os.open(fresh, _FLAGS | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as exc:
        raise disk_full(exc) or _unwritable(exc) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        signature = Signature(descriptor=descriptor, pid=str(os.getpid()), lease=holder.lease, last_attempt=0)
        signature.write()
        while not _placed(fresh, root / LOCK_NAME, signature, holder):
            time.sleep(POLL_S)
        return signature
    except BaseException:  # clean-up: an interrupt leaves no lock held
        os.close(descriptor)
        raise
    finally:
        fresh.unlink(missing_ok=True)  # what stood there before us, or our own


def sweep(root: Path) -> None:
    """Remove the lock files of those who died while they put one in its place."""
    try:
        names = os.listdir(root)
    except PermissionError:  # what it is for is told by whoever reads it
        return
    for name in names:
        if not name.startswith(f"{LOCK_NAME}."):
            continue
        path = root / name
        with suppress(OSError):
            descriptor = os.open(path, _FLAGS)
            try:
                if _is_free(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def _placed(fresh: Path, place: Path, signature: Signature, holder: Holder) -> bool:
    """Whether ours stands at ``place`` now. Raises WORKSPACE_BUSY if it never will."""
    try:
        _rename(fresh, place, _NOREPLACE)
    except FileExistsError:
        pass
    else:
        return True
    judged = _open_lock(place)
    if judged is None:
        return False  # it was replaced between two looks
    try:
        former = Signature.read(judged)
        if not _is_free(judged) and not (former.lease and holder.is_over(former.lease)):
            if not holder.keep_waiting():
                raise busy(former.pid)
            return False
        signature.last_attempt = former.last_attempt
        signature.write()
        _rename(fresh, place, _EXCHANGE)
        if os.path.samestat(fresh.lstat(), os.fstat(judged)):
            return True
        _rename(fresh, place, _EXCHANGE)  # another was quicker: its file goes back
        return False
    finally:
        os.close(judged)


def _open_lock(place: Path) -> int | None:
    try:
        descriptor = os.open(place, _FLAGS)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is no plain file of its own")
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise _unwritable(exc) from exc
    return descriptor


def _is_free(descriptor: int) -> bool:
    """Whether no holder has it. Shared: those who look do not take each other for a holder."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _rename(source: Path, target: Path, flag: int) -> None:
    """renameat2(2). Where a file system cannot do it, the nearest that there is; the desk still fences."""
    if _libc().renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), str(target))
    if flag == _NOREPLACE:
        os.link(source, target)
        source.unlink()
        return
    aside = source.with_name(f"{source.name}.x")
    os.link(target, aside)
    source.rename(target)
    aside.rename(source)


def busy(pid: str) -> AutoscorerError:
    """Somebody else works on it."""
    message = f"process {pid or 'unknown'} is working on this workspace"
    return AutoscorerError("WORKSPACE_BUSY", message, {"pid": pid})


def _unwritable(exc: OSError) -> AutoscorerError:
    return spec_error([SpecFault(LOCK_NAME, f"cannot be opened: {exc.strerror}")], cause="workspace")
