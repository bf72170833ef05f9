"""Forks of a process that has one thread of Python's and only imports: what is forked often costs less.

`os.fork` first and afterwards calls whatever the imported libraries have registered, in both processes: locks
made anew that nobody can hold, records of threads that there are not. Each call writes to objects on some
hundred pages, which are copied for it *(measured: 1 of 27 ms of processor time a score, two forks)*. What
libraries have registered with the C library is still called.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

# Unlike CDLL it keeps the interpreter's lock; threads of the libraries' own never have it.
_libc = ctypes.PyDLL(None, use_errno=True)
_CLONE_VM, _CLONE_FS, _CLONE_FILES = 0x100, 0x200, 0x400
_RT_SIGPROCMASK = {"x86_64": 14, "aarch64": 135}
_ALL_SIGNALS = 2**64 - 1
# All sleepers have it together, for none ever returns to it: each lays the same words on it and sleeps.
_SLEEPERS_STACK = ctypes.create_string_buffer(2**14)


def fork() -> int:
    """As `os.fork` in a process with a single thread of Python's, but none of Python's handlers is called:
    the child has the random numbers of its parent until `begin_anew`. Raises OSError."""
    return _born(_libc.fork())


def sleeper() -> int:
    """A child that only sleeps, until it is killed: where a process has to be that has nothing to do.

    It is in our own memory and has our descriptors, not copies of them, so it costs next to nothing; whoever
    may look into it looks into us. No signal reaches it but SIGKILL and SIGSTOP. Raises OSError.
    """
    top = (ctypes.addressof(_SLEEPERS_STACK) + len(_SLEEPERS_STACK)) & ~15
    flags = _CLONE_VM | _CLONE_FS | _CLONE_FILES | signal.SIGCHLD
    former = _blocked(_ALL_SIGNALS)  # a handler of ours would be run in our memory by whoever may signal it
    try:
        return _born(_libc.clone(_libc.pause, ctypes.c_void_p(top), flags, None))
    finally:
        _blocked(former)


def can_make_sleepers() -> bool:
    """Whether we know how to on this machine, and can be told when one ends."""
    if os.uname().machine not in _RT_SIGPROCMASK:
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _blocked(signals: int) -> int:
    """Block exactly ``signals``; those that were. By the call itself: the library leaves out two."""
    wanted, former = ctypes.c_uint64(signals), ctypes.c_uint64()
    number = _RT_SIGPROCMASK[os.uname().machine]
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    _libc.syscall(number, signal.SIG_SETMASK, ctypes.byref(wanted), ctypes.byref(former), size)
    return former.value


def _born(pid: int) -> int:
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid


def begin_anew() -> None:
    """In the child, before foreign code runs: of the handlers the one that makes a difference."""
    if "random" in sys.modules:
        sys.modules["random"].seed()
