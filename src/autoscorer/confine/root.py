"""A root file system made for one process, in a mount namespace of its own.

What bubblewrap does for a program, for a process that is forked, and in two parts. `begin`, `hold`,
`cover`, `lay_out` move into a root in which the system is seen, which is the same for all and may be done
beforehand; `complete`, `leave_machine`, `close_up` add what is shown to this one process and take this
machine's own root away. All of it is read-only but what is named as writable.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoscorer.confine import mounts
from autoscorer.confine.bubblewrap import PROC_MASKED, PROC_READ_ONLY, Host
from autoscorer.confine.mounts import NODEV_ATTR, NOEXEC_ATTR, NOSUID_ATTR, RDONLY_ATTR
from autoscorer.confine.namespaces import MOUNTS, attempt, unshare

TMP, SHM = "/tmp", "/dev/shm"  # noqa: S108 - each in a root of its own
BASE = TMP  # where the new root is made, in a mount namespace of our own
MACHINE = "/.machine"  # where this machine's own root is, between the two steps
NEW_ROOT_OPTIONS = "mode=0755,size=4m"
FIRST_TMP_OPTIONS = "mode=1777,size=1m"
LEAVING_BUDGET_S = 15.0
SHM_BYTES = 64 * 2**20
DEVICES = ("null", "zero", "full", "random", "urandom")
DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A file or folder of this machine, and where it is seen.

    ``identity`` is (device, inode): another file that has come under its name is not shown. Then
    ``copy_of``, an open file, is copied instead.
    """

    source: str
    target: str
    identity: tuple[int, int] | None = None
    copy_of: int | None = None


@dataclass(frozen=True, kw_only=True)
class System:
    """What every process sees. ``links`` are symbolic links by path."""

    shown: Sequence[Shown]
    links: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Own:
    """What one process sees besides. ``writable`` are folders for files of its own, `TMP` among them, with
    their options as tmpfs; ``hidden`` folders are shown empty."""

    shown: Sequence[Shown]
    writable: Mapping[str, str]
    hidden: Sequence[str] = ()
    folders: Sequence[str] = ()


def system_of(host: Host, packages: Sequence[str]) -> System:
    """/usr, the interpreter, ``packages``."""
    trees = ["/usr", *(path for path, link in host.root_links.items() if link is None)]
    for tree in [*map(str, host.interpreter.trees), *packages]:
        if not any(Path(tree).is_relative_to(other) for other in trees) and Path(tree).exists():
            trees.append(tree)
    return System(
        shown=tuple(Shown(source=path, target=path) for path in (*trees, *host.etc)),
        links={path: link for path, link in host.root_links.items() if link is not None},
    )


def begin() -> None:
    """A mount namespace of our own. Raises OSError where this machine does not let us."""
    unshare(MOUNTS)
    mounts.mount(None, "/", None, mounts.RECURSIVE | mounts.PRIVATE)


def hold(system: System) -> dict[str, int]:
    """Descriptors of what is to be seen and of the devices, by target: before anything is covered."""
    held = {each.target: _held(each, machine="") for each in system.shown}
    devices = {f"/dev/{name}": os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC) for name in DEVICES}
    return {target: descriptor for target, descriptor in held.items() if descriptor is not None} | devices


def cover() -> None:
    """Where the new root will be. Raises OSError where this machine does not let us make one."""
    mounts.mount_tmpfs(BASE, NEW_ROOT_OPTIONS)
    try:
        mounts.set_attributes(BASE, RDONLY_ATTR, recursive=True)  # Linux before 5.12 cannot
        mounts.set_attributes(BASE, 0, clear=RDONLY_ATTR)
    except OSError:
        mounts.detach(BASE)  # only here: it waits for every processor (2 to 15 ms where they are busy)
        raise


def lay_out(system: System, held: Mapping[str, int], *, own_pids: bool) -> None:
    """After `cover`: move into a root with ``system``. Raises OSError.

    ``own_pids``: we are the first process of a pid namespace, and /proc shows it; else it is empty.
    """
    for path, link in system.links.items():
        Path(BASE + path).symlink_to(link)
    mounts.make_folder(BASE + TMP)
    mounts.mount_tmpfs(BASE + TMP, FIRST_TMP_OPTIONS)  # a tree that is shown may lie in it
    for target in sorted(held, key=_depth):
        mounts.bind(held[target], BASE + target, proc="/proc")
    _furnish(held, own_pids=own_pids)
    mounts.set_attributes(BASE, RDONLY_ATTR | NOSUID_ATTR | NODEV_ATTR, recursive=True)
    mounts.set_attributes(BASE + TMP, 0, clear=RDONLY_ATTR)
    mounts.set_attributes(BASE + SHM, NOEXEC_ATTR, clear=RDONLY_ATTR)
    for name in DEVICES:
        mounts.set_attributes(f"{BASE}/dev/{name}", 0, clear=NODEV_ATTR)
    mounts.set_attributes(BASE, 0, clear=RDONLY_ATTR)  # until it is complete
    mounts.make_folder(BASE + MACHINE)
    mounts.pivot(BASE, BASE + MACHINE)
    os.chdir("/")
    for descriptor in held.values():
        os.close(descriptor)


def complete(own: Own) -> None:
    """After `lay_out`: add ``own``. `leave_machine` and `close_up` are still to come. Raises OSError.

    The sources are looked up as this machine has them now.
    """
    shown = {each.target: each for each in own.shown}
    sources = {target: _held(each, machine=MACHINE) for target, each in shown.items()}
    hidden = dict.fromkeys(own.hidden, "mode=0755,size=4k")
    for target in sorted({*shown, *own.writable, *hidden, *own.folders}, key=_depth):
        if target == TMP:
            mounts.change_tmpfs(TMP, own.writable[TMP])
        elif target in own.writable:
            mounts.make_folder(target)
            mounts.mount_tmpfs(target, own.writable[target])
            mounts.set_attributes(target, NOEXEC_ATTR)
        elif target in hidden:
            # Made through what is shown, a folder that is not there would appear on this machine.
            if os.path.lexists(target):
                mounts.mount_tmpfs(target, hidden[target])
                mounts.set_attributes(target, RDONLY_ATTR)
        elif target in shown:
            _show(shown[target], sources[target], base="", proc=f"{MACHINE}/proc")
            if sources[target] is not None:
                mounts.set_attributes(target, RDONLY_ATTR | NOSUID_ATTR | NODEV_ATTR, recursive=True)
        else:
            mounts.make_folder(target)


def leave_machine() -> None:
    """Let go of this machine's root, for good and for all in our mount namespace. Raises OSError.

    The kernel takes it away at once, then waits for every processor (0.2 to 6 ms where they are busy).
    """
    mounts.detach(MACHINE)


def close_up(directory: str) -> None:
    """Once somebody leaves this machine: wait until it is gone, allow no more mounts, go to ``directory``.

    Raises OSError.
    """
    deadline = time.monotonic() + LEAVING_BUDGET_S
    while not _removed(MACHINE):
        if time.monotonic() > deadline:
            raise OSError(errno.EBUSY, "this machine's root is still there")
        time.sleep(0.00005)
    mounts.set_attributes("/", RDONLY_ATTR | NOSUID_ATTR | NODEV_ATTR)
    os.chdir(directory)


def _removed(mount_point: str) -> bool:
    """Remove the folder; False while something is mounted there."""
    try:
        Path(mount_point).rmdir()
    except OSError as exc:
        if exc.errno != errno.EBUSY:
            raise
        return False
    return True


def identities(system: System) -> list[tuple[int, int] | None]:
    """Which files and folders stand under the names of ``system`` now: (device, inode) of each."""
    return [_identity(each.source) for each in system.shown]


def _furnish(held: Mapping[str, int], *, own_pids: bool) -> None:
    """The rest of /dev, and /proc."""
    for name, link in DEVICE_LINKS.items():
        Path(f"{BASE}/dev/{name}").symlink_to(link)
    mounts.make_folder(BASE + SHM)
    mounts.mount_tmpfs(BASE + SHM, f"mode=1777,size={SHM_BYTES}")
    mounts.make_folder(f"{BASE}/proc")
    if own_pids:
        _mount_proc(held["/dev/null"])


def _mount_proc(null: int) -> None:
    """/proc as Docker shows it, without processes that nobody in it may look into. Where part of ours is
    covered, the kernel gives us none; then it is empty."""
    flags, options = mounts.NOSUID | mounts.NODEV | mounts.NOEXEC, "hidepid=ptraceable"
    if attempt(lambda: mounts.mount("proc", f"{BASE}/proc", "proc", flags, options)) is not None:
        return
    there = set(os.listdir(f"{BASE}/proc"))
    for name in there.intersection(PROC_READ_ONLY):
        mounts.mount(f"{BASE}/proc/{name}", f"{BASE}/proc/{name}", None, mounts.BIND | mounts.RECURSIVE)
    for name in there.intersection(PROC_MASKED):
        mounts.mount(f"/proc/self/fd/{null}", f"{BASE}/proc/{name}", None, mounts.BIND)


def _held(shown: Shown, *, machine: str) -> int | None:
    """A descriptor of the source; None if another file has taken its name."""
    try:
        descriptor = os.open(machine + shown.source, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        if shown.copy_of is None:
            raise
        return None
    status = os.fstat(descriptor)
    if shown.identity is not None and tuple(shown.identity) != (status.st_dev, status.st_ino):
        os.close(descriptor)
        return None
    return descriptor


def _show(shown: Shown, descriptor: int | None, *, base: str, proc: str) -> None:
    target = base + shown.target
    if descriptor is not None:
        mounts.bind(descriptor, target, proc=proc)
    elif shown.copy_of is not None:
        mounts.make_folder(os.path.dirname(target))  # noqa: PTH120
        _copy(shown.copy_of, target)
    else:
        raise OSError(0, f"{shown.target} was replaced meanwhile")


def _copy(descriptor: int, target: str) -> None:
    with open(target, "wb") as file:  # noqa: PTH123
        offset = 0
        while count := os.sendfile(file.fileno(), descriptor, offset, 2**24):
            offset += count


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - ten of them before each score
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _depth(path: str) -> int:
    return path.count("/")
