"""A root file system made for one process, in a mount namespace of its own.

What bubblewrap does for a program, for a process that is forked: `Root` says what is to be seen, `begin`
asks whether this machine allows it, `enter` mounts it and moves in. All of it is read-only but what is
named as writable.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoscorer.confine.bubblewrap import PROC_MASKED, PROC_READ_ONLY, Host
from autoscorer.confine.namespaces import MOUNTS, attempt, libc_call, unshare

TMP, SHM = "/tmp", "/dev/shm"  # noqa: S108 - each in a root of its own
BASE = TMP  # where the new root is made, in a mount namespace of our own
NEW_ROOT_OPTIONS = "mode=0755,size=4m"
SHM_BYTES = 64 * 2**20
DEVICES = ("null", "zero", "full", "random", "urandom")
_BIND, _RECURSIVE, _PRIVATE, _NOSUID, _NODEV, _NOEXEC = 0x1000, 0x4000, 0x40000, 2, 4, 8
_DETACH = 2
# linux/mount.h, mount_setattr: the same number on every machine but alpha
_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _ATTR_NOEXEC = 1, 2, 4, 8


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A file or folder of this machine, and where it is seen.

    ``identity`` is (device, inode): another file that has come under its name is not shown. Then
    ``copy_of``, an open file, is copied instead.
    """

    source: str
    target: str
    writable: bool = False
    identity: tuple[int, int] | None = None
    copy_of: int | None = None


@dataclass(frozen=True, kw_only=True)
class Root:
    """What is to be seen. ``links`` are symbolic links by path; ``hidden`` folders are shown empty."""

    shown: Sequence[Shown]
    links: Mapping[str, str] = field(default_factory=dict)
    folders: Sequence[str] = ()
    hidden: Sequence[str] = ()
    tmp_bytes: int = 2**20
    directory: str = "/"


def system_root(host: Host, packages: Sequence[str]) -> tuple[tuple[Shown, ...], Mapping[str, str]]:
    """What every process sees: /usr, the interpreter, ``packages``; as (shown, links)."""
    trees = ["/usr", *(path for path, link in host.root_links.items() if link is None)]
    for tree in [*map(str, host.interpreter.trees), *packages]:
        if not any(Path(tree).is_relative_to(other) for other in trees) and Path(tree).exists():
            trees.append(tree)
    shown = tuple(Shown(source=path, target=path) for path in (*trees, *host.etc))
    return shown, {path: link for path, link in host.root_links.items() if link is not None}


def begin() -> None:
    """A mount namespace of our own. Raises OSError where this machine does not let us make a root."""
    unshare(MOUNTS)
    _mount(None, "/", None, _RECURSIVE | _PRIVATE)
    _mount("tmpfs", BASE, "tmpfs", _NOSUID | _NODEV, NEW_ROOT_OPTIONS)
    try:
        _set(BASE, _ATTR_RDONLY, recursive=True)  # Linux before 5.12 cannot
    finally:
        libc_call("umount2", BASE.encode(), _DETACH)


def enter(root: Root, *, own_pids: bool) -> None:
    """Move into ``root``, for good, after `begin`. Raises OSError.

    ``own_pids``: we are the first process of a pid namespace, and /proc shows it; else it is empty.
    """
    # Before anything is covered: the sources are held by descriptors.
    sources = {shown.target: _held(shown) for shown in root.shown}
    devices = {name: os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC) for name in DEVICES}
    _mount("tmpfs", BASE, "tmpfs", _NOSUID | _NODEV, NEW_ROOT_OPTIONS)
    _furnish(root, sources, devices, own_pids=own_pids)
    _set(BASE, _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV, recursive=True)
    _open_doors(root)
    os.chdir(BASE)
    libc_call("pivot_root", b".", b".")
    libc_call("umount2", b".", _DETACH)
    os.chdir(root.directory)


def _furnish(
    root: Root, sources: Mapping[str, int | None], devices: Mapping[str, int], *, own_pids: bool
) -> None:
    """Mount everything, what lies above before what lies below it."""
    for path, link in root.links.items():
        Path(BASE + path).symlink_to(link)
    shown = {each.target: each for each in root.shown}
    tmpfs = {
        TMP: f"mode=1777,size={root.tmp_bytes}",
        SHM: f"mode=1777,size={SHM_BYTES}",
        **dict.fromkeys(root.hidden, "mode=0755,size=4k"),
    }
    for target in sorted({*shown, *tmpfs, *root.folders}, key=lambda path: path.count("/")):
        if target in tmpfs:
            # Made through what is shown, a folder that is not there would appear on this machine.
            if target not in (TMP, SHM) and not os.path.lexists(BASE + target):
                continue
            _make_folder(BASE + target)
            _mount("tmpfs", BASE + target, "tmpfs", _NOSUID | _NODEV, tmpfs[target])
        elif target in shown:
            _show(shown[target], sources[target])
        else:
            _make_folder(BASE + target)
    for name, descriptor in devices.items():
        _bind(descriptor, f"{BASE}/dev/{name}")
    for name, link in {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
        Path(f"{BASE}/dev/{name}").symlink_to(link)
    _make_folder(f"{BASE}/proc")
    if own_pids:
        _mount_proc(devices["null"])


def _mount_proc(null: int) -> None:
    """/proc as Docker shows it. Where part of ours is covered, the kernel gives us none; then it is empty."""
    if attempt(lambda: _mount("proc", f"{BASE}/proc", "proc", _NOSUID | _NODEV | _NOEXEC)) is not None:
        return
    there = set(os.listdir(f"{BASE}/proc"))
    for name in there.intersection(PROC_READ_ONLY):
        _mount(f"{BASE}/proc/{name}", f"{BASE}/proc/{name}", None, _BIND | _RECURSIVE)
    for name in there.intersection(PROC_MASKED):
        _mount(f"/proc/self/fd/{null}", f"{BASE}/proc/{name}", None, _BIND)


def _open_doors(root: Root) -> None:
    """After all was made read-only: what may be written to, the devices that are none of it."""
    _set(BASE + TMP, 0, clear=_ATTR_RDONLY)
    _set(BASE + SHM, _ATTR_NOEXEC, clear=_ATTR_RDONLY)
    for name in DEVICES:
        _set(f"{BASE}/dev/{name}", 0, clear=_ATTR_NODEV)
    for each in root.shown:
        if each.writable:
            _set(BASE + each.target, _ATTR_NOEXEC, clear=_ATTR_RDONLY)


def _held(shown: Shown) -> int | None:
    """A descriptor of the source; None if another file has taken its name."""
    try:
        descriptor = os.open(shown.source, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        if shown.copy_of is None:
            raise
        return None
    status = os.fstat(descriptor)
    if shown.identity is not None and tuple(shown.identity) != (status.st_dev, status.st_ino):
        os.close(descriptor)
        return None
    return descriptor


def _show(shown: Shown, descriptor: int | None) -> None:
    target = BASE + shown.target
    if descriptor is not None:
        _bind(descriptor, target)
    elif shown.copy_of is not None:
        _make_folder(os.path.dirname(target))  # noqa: PTH120
        _copy(shown.copy_of, target)
    else:
        raise OSError(0, f"{shown.target} was replaced meanwhile")


def _copy(descriptor: int, target: str) -> None:
    with open(target, "wb") as file:  # noqa: PTH123
        offset = 0
        while count := os.sendfile(file.fileno(), descriptor, offset, 2**24):
            offset += count


def _bind(descriptor: int, target: str) -> None:
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        _make_folder(target)
    elif not os.path.lexists(target):
        _make_folder(os.path.dirname(target))  # noqa: PTH120
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
    _mount(f"/proc/self/fd/{descriptor}", target, None, _BIND | _RECURSIVE)


def _make_folder(path: str) -> None:
    if not os.path.isdir(path):  # noqa: PTH112 - a mount point that is there may be read-only
        os.makedirs(path)  # noqa: PTH103


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, options)]
    libc_call("mount", words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])


def _set(target: str, attributes: int, *, clear: int = 0, recursive: bool = False) -> None:
    """Set and clear attributes of the mount at ``target``, of all below it too if ``recursive``."""
    wanted = (ctypes.c_uint64 * 4)(attributes, clear, 0, 0)  # struct mount_attr
    flags = _AT_RECURSIVE if recursive else 0
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    libc_call("syscall", _SETATTR, _AT_FDCWD, target.encode(), flags, ctypes.byref(wanted), size)
