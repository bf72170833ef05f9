"""Walls that a process raises around itself: namespaces, no capabilities, a filter of system calls.

For a process that is forked, not exec'ed, so that bubblewrap is no way for it; by the system calls
themselves. Each function raises OSError where the machine does not allow it; `enter` tries them all.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from autoscorer.confine.bubblewrap import UID

USER, PIDS, NETWORK, IPC, NAMES, CGROUPS, MOUNTS = (
    0x10000000,
    0x20000000,
    0x40000000,
    0x08000000,
    0x04000000,
    0x02000000,
    0x00020000,
)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 4, 22, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL = 38, 47, 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
_MAX_CAPABILITIES = 64


class _FilterProgram(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def libc_call(name: str, *arguments: object) -> int:
    """Call a function of the C library; raises OSError when it says so."""
    found: int = getattr(_libc(), name)(*arguments)
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return found


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def attempt(step: Callable[[], object]) -> str | None:
    """None if ``step`` was done, else why the machine does not allow it."""
    try:
        step()
    except OSError as exc:
        return exc.strerror or str(exc)
    return None


def enter(kinds: Mapping[str, int]) -> dict[str, str | None]:
    """Leave our namespaces of these kinds for fresh ones: per name None, or why not."""
    if attempt(lambda: unshare(functools.reduce(operator.or_, kinds.values()))) is None:
        return dict.fromkeys(kinds)
    return {name: attempt(lambda kind=kind: unshare(kind)) for name, kind in kinds.items()}  # type: ignore[misc]


def unshare(kind: int) -> None:
    """Leave our namespace of this kind for a fresh one; a pid namespace begins with our next child."""
    libc_call("unshare", kind)


def own_pids() -> int:
    """An open file that stands for our pid namespace, for `children_in`."""
    return os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)


def children_in(pids: int) -> None:
    """Let our next children begin in this pid namespace."""
    libc_call("setns", pids, PIDS)


def become_nobody() -> None:
    """Move into a user namespace of our own, where we are called nobody: it is what lets everybody make
    the other namespaces. Without one root still can."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(USER)
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{UID} {uid} 1")
    (own / "gid_map").write_text(f"{UID} {gid} 1")


def end_with_parent() -> None:
    """Be killed when our parent ends."""
    libc_call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def bar_capabilities() -> None:
    """As far as we may: no program that we exec, or that what we fork from now on does, can get a capability;
    those that are held stay."""
    for number in range(_MAX_CAPABILITIES):
        if attempt(lambda number=number: libc_call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)):  # type: ignore[misc]
            break


def drop_capabilities() -> None:
    """For good: none is held, and no program we exec has more rights than we."""
    libc_call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc_call("prctl", _PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    libc_call("capset", header, (ctypes.c_uint32 * 6)())


def filter_calls(program: bytes) -> None:
    """Load a filter (see `confine.seccomp`) for us and all that we start."""
    filter_program = _FilterProgram(len(program) // 8, program)
    libc_call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filter_program), 0, 0)


def hide_memory(*, hidden: bool = True) -> None:
    """Nobody of our user may look into this process or write to it, nor into what it forks; or may again."""
    libc_call("prctl", _PR_SET_DUMPABLE, int(not hidden), 0, 0, 0)
