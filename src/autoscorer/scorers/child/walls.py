"""Behind which walls a scorer computes: raised as far as this machine allows, and told as they are."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autoscorer.confine import namespaces, properties, root
from autoscorer.confine.bubblewrap import Host
from autoscorer.confine.seccomp import own_filter

USER, PIDS, NETWORK, IPC, NAMES, CGROUPS = "user", "pids", "network", "ipc", "names", "cgroups"
FILES, CAPABILITIES, SECCOMP = "files", "capabilities", "seccomp"
KINDS = {
    NETWORK: namespaces.NETWORK,
    IPC: namespaces.IPC,
    NAMES: namespaces.NAMES,
    CGROUPS: namespaces.CGROUPS,
}
WALLS = (PIDS, *KINDS, FILES, CAPABILITIES, SECCOMP)  # all that a result tells of
Raised = dict[str, str | None]  # by wall: None where it stands, else why it does not


def prepare() -> None:
    """In the zygote: find out once what every scorer's process needs."""
    _trees()
    for is_memory_counted in (True, False):
        _filter(is_memory_counted=is_memory_counted)


def raise_outer(entered: Raised) -> Raised:
    """In the keeper, else in the scorer's process: namespaces, on top of what it was forked in."""
    return {**entered, **namespaces.enter(KINDS)}


def hide_keeper() -> None:
    """The first process of the pid namespace: nobody else may look into it or write to it."""
    namespaces.attempt(namespaces.hide_memory)


def raise_files(raised: Raised) -> Raised:
    """A root file system of its own with what every scorer sees. Raises OSError if something in it is
    missing. `add_files` is still to come."""
    denied = namespaces.attempt(root.begin)
    if denied is None:
        held = root.hold(_system())
        denied = namespaces.attempt(root.cover)
        if denied is None:
            root.lay_out(_system(), held, own_pids=raised[PIDS] is None)
    return {**raised, FILES: denied}


def machine_root(raised: Raised) -> str:
    """Where this machine's root is between `raise_files` and `add_files`."""
    return root.MACHINE if raised[FILES] is None else ""


def add_files(
    raised: Raised, request: Mapping[str, Any], *, pinned: Sequence[int], leave: Callable[[], None]
) -> None:
    """In the scorer's process: the files of its score. Raises OSError if one is missing.

    ``leave`` has `leave_machine` called, here or by another; `close_files` is still to come.
    """
    if raised[FILES] is not None:
        return
    files = request["files"]
    root.complete(
        root.Own(
            shown=[_shown(cells, pinned) for cells in files["shown"]],
            writable=files["writable"],
            hidden=_hidden(files["hidden"], _trees()),
            folders=files["folders"],
        )
    )
    leave()


def leave_machine() -> None:
    """Take this machine's root away; the kernel says what went wrong in `close_files`."""
    namespaces.attempt(root.leave_machine)


def close_files(raised: Raised, request: Mapping[str, Any]) -> None:
    """When all files are there and this machine is left: allow no more. Raises OSError."""
    if raised[FILES] is None:
        root.close_up(request["files"]["workspace"])


def places(raised: Raised, request: Mapping[str, Any]) -> list[int]:
    """Open folders: everywhere that files of the scorer's process may lie, the artifacts first."""
    if raised[FILES] is not None:
        return []
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    return [os.open(path, flags) for path in (*request["files"]["writable"], root.SHM)]


def identities() -> list[tuple[int, int] | None]:
    """What of this machine every scorer sees, as it is now: it may be another once a package is installed."""
    return root.identities(_system())


def raise_inner(raised: Raised, *, is_memory_counted: bool) -> Raised:
    """In the scorer's process itself, last: it can do nothing of the above any more."""
    dropped = namespaces.attempt(namespaces.drop_capabilities)
    bpf = _filter(is_memory_counted=is_memory_counted)
    filtered = (
        "no table of its system calls"
        if bpf is None
        else namespaces.attempt(lambda: namespaces.filter_calls(bpf))
    )
    return {**raised, CAPABILITIES: dropped, SECCOMP: filtered}


def strip_keeper() -> None:
    """The first process of the pid namespace waits and nothing else."""
    namespaces.attempt(namespaces.drop_capabilities)


def show_scorers_process() -> None:
    """In the scorer's process, which is not the first: what it holds is its own."""
    namespaces.attempt(lambda: namespaces.hide_memory(hidden=False))


def seen(raised: Raised, request: Mapping[str, Any]) -> dict[str, Any]:
    """The request with its paths as the scorer's process sees them."""
    if raised[FILES] is not None:
        return dict(request)
    files = request["files"]
    return {**request, "workspace": files["workspace"], "path": files["path"]}


def isolation(raised: Mapping[str, str | None], caps_enforced: Mapping[str, str]) -> dict[str, Any]:
    """What a result says of it: ``{"mode", "enforced", "not_enforced"}``."""
    stands = {name: raised.get(name, "") is None for name in WALLS}
    held = {
        properties.NETWORK: stands[NETWORK],
        properties.PACKAGES: stands[FILES],
        properties.READ_ONLY_VIEW: stands[FILES],
        properties.PROCESSES: stands[PIDS],
        properties.IPC: stands[IPC] and stands[NAMES] and stands[CGROUPS],
        properties.CAPABILITIES: stands[CAPABILITIES],
        properties.USER_NAMESPACES: stands[SECCOMP],
        properties.SECCOMP: stands[SECCOMP],
        properties.HOST_USER: False,
        properties.NO_NEW_PRIVILEGES: True,
        properties.CLEAN_ENVIRONMENT: True,
        properties.WHOLE_TREE: stands[PIDS] or "cgroup" in caps_enforced.values(),
        properties.TIME: True,
        properties.OUTPUT: True,
        properties.DISK: stands[FILES],  # elsewhere a file that was opened and unlinked is not counted
        **{
            f"{name} ({caps_enforced[cap]})" if cap in caps_enforced else name: cap in caps_enforced
            for cap, name in properties.CAPS.items()
            if cap != "cpu"
        },
    }
    return {
        "mode": "child",
        "enforced": [name for name, stands_ in held.items() if stands_],
        "not_enforced": [name for name, stands_ in held.items() if not stands_],
    }


@functools.cache
def _system() -> root.System:
    venv = [sys.prefix] if sys.prefix != sys.base_prefix else []
    return root.system_of(Host.here(), [*venv, *sys.path])


@functools.cache
def _trees() -> dict[str, str]:
    """Where everybody sees the trees of `_system`, and what they really are: a link may lead to one."""
    return {each.target: os.path.realpath(each.source) for each in _system().shown}


def has_filter() -> bool:
    """Whether there is a filter of system calls for this machine."""
    return _filter(is_memory_counted=True) is not None


@functools.cache
def _filter(*, is_memory_counted: bool) -> bytes | None:
    return own_filter(is_memory_counted=is_memory_counted)


def _shown(cells: Mapping[str, Any], pinned: Sequence[int]) -> root.Shown:
    copy_of = None if cells["pinned"] is None else pinned[cells["pinned"]]
    identity = None if cells["identity"] is None else tuple(cells["identity"])
    return root.Shown(
        source=cells["source"],
        target=cells["target"],
        identity=identity,
        copy_of=copy_of,
    )


def _hidden(wanted: Sequence[str], trees: Mapping[str, str]) -> list[str]:
    """The platform's folders that lie in a tree which is shown, as they are seen there."""
    return [
        target + path.removeprefix(tree)
        for path in wanted
        for target, tree in trees.items()
        if path.startswith(f"{tree}/")
    ]
