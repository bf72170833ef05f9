"""Mounts of one process, by the system calls themselves. All raise OSError."""

from __future__ import annotations

import ctypes
import os
import stat

from autoscorer.confine.namespaces import libc_call

BIND, RECURSIVE, PRIVATE = 0x1000, 0x4000, 0x40000
NOSUID, NODEV, NOEXEC = 2, 4, 8
RDONLY_ATTR, NOSUID_ATTR, NODEV_ATTR, NOEXEC_ATTR = 1, 2, 4, 8
_REMOUNT, _DETACH = 32, 2
# linux/mount.h, mount_setattr: the same number on every machine but alpha
_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, options)]
    libc_call("mount", words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])


def mount_tmpfs(target: str, options: str) -> None:
    mount("tmpfs", target, "tmpfs", NOSUID | NODEV, options)


def change_tmpfs(target: str, options: str) -> None:
    """Give a tmpfs of ours other options, such as its size."""
    mount(None, target, None, _REMOUNT | NOSUID | NODEV, options)


def set_attributes(target: str, attributes: int, *, clear: int = 0, recursive: bool = False) -> None:
    """Set and clear attributes of the mount at ``target``, of all below it too if ``recursive``.

    Linux before 5.12 cannot.
    """
    wanted = (ctypes.c_uint64 * 4)(attributes, clear, 0, 0)  # struct mount_attr
    flags = _AT_RECURSIVE if recursive else 0
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    libc_call("syscall", _SETATTR, _AT_FDCWD, target.encode(), flags, ctypes.byref(wanted), size)


def bind(descriptor: int, target: str, *, proc: str) -> None:
    """Show what ``descriptor`` is open on at ``target`` too, which is made. ``proc`` is where /proc is."""
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        make_folder(target)
    elif not os.path.lexists(target):
        make_folder(os.path.dirname(target))  # noqa: PTH120
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
    mount(f"{proc}/self/fd/{descriptor}", target, None, BIND | RECURSIVE)


def make_folder(path: str) -> None:
    if not os.path.isdir(path):  # noqa: PTH112 - a mount point that is there may be read-only
        os.makedirs(path)  # noqa: PTH103


def pivot(new_root: str, old_root: str) -> None:
    """Make ``new_root`` our root; the former one is then at ``old_root``, a folder below the new one."""
    libc_call("pivot_root", new_root.encode(), old_root.encode())


def detach(target: str) -> None:
    """Take the mount at ``target`` and all below it away, though it may be in use."""
    libc_call("umount2", target.encode(), _DETACH)
