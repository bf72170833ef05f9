"""Forks of a process that has one thread of Python's and only imports: what is forked often costs less.

`os.fork` first and afterwards calls whatever the imported libraries have registered, in both processes: locks
made anew that nobody can hold, records of threads that there are not. Each call writes to objects on some
hundred pages, which are copied for it *(measured: 1 of 27 ms of processor time a score, two forks)*. What
libraries have registered with the C library is still called.
"""

from __future__ import annotations

import ctypes
import os
import sys

# Unlike CDLL it keeps the interpreter's lock; threads of the libraries' own never have it.
_libc = ctypes.PyDLL(None, use_errno=True)


def fork() -> int:
    """As `os.fork` in a process with a single thread of Python's, but none of Python's handlers is called:
    the child has the random numbers of its parent until `begin_anew`. Raises OSError."""
    pid: int = _libc.fork()
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid


def begin_anew() -> None:
    """In the child, before foreign code runs: of the handlers the one that makes a difference."""
    if "random" in sys.modules:
        sys.modules["random"].seed()
