"""Behind which walls a scorer computes: raised as far as this machine allows, and told as they are."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autoscorer.confine import namespaces, properties, root
from autoscorer.confine.bubblewrap import Host
from autoscorer.confine.seccomp import own_filter

PIDS, NETWORK, IPC, NAMES, CGROUPS = "pids", "network", "ipc", "names", "cgroups"
FILES, CAPABILITIES, SECCOMP = "files", "capabilities", "seccomp"
KINDS = {
    PIDS: namespaces.PIDS,
    NETWORK: namespaces.NETWORK,
    IPC: namespaces.IPC,
    NAMES: namespaces.NAMES,
    CGROUPS: namespaces.CGROUPS,
}
Raised = dict[str, str | None]  # by wall: None where it stands, else why it does not


def prepare() -> None:
    """In the zygote: find out once what every scorer's process needs."""
    _system()
    _filter()


def raise_outer() -> Raised:
    """In the keeper: namespaces. The pid namespace begins with its next child."""
    return namespaces.enter(KINDS)


def raise_files(raised: Raised, request: Mapping[str, Any], *, pinned: Sequence[int]) -> Raised:
    """In its child: a root file system of its own. Raises OSError if something in it is missing."""
    denied = namespaces.attempt(root.begin)
    if denied is None:
        shown, links = _system()
        files = request["files"]
        own = [_shown(cells, pinned) for cells in files["shown"]]
        root.enter(
            root.Root(
                shown=(*shown, *own),
                links=links,
                folders=files["folders"],
                hidden=_hidden(files["hidden"], [each.target for each in shown]),
                tmp_bytes=files["tmp_bytes"],
                directory=files["workspace"],
            ),
            own_pids=raised[PIDS] is None,
        )
    return {**raised, FILES: denied}


def raise_inner(raised: Raised) -> Raised:
    """In the scorer's process itself, last: it can do nothing of the above any more."""
    dropped = namespaces.attempt(namespaces.drop_capabilities)
    bpf = _filter()
    filtered = (
        "no table of its system calls"
        if bpf is None
        else namespaces.attempt(lambda: namespaces.filter_calls(bpf))
    )
    return {**raised, CAPABILITIES: dropped, SECCOMP: filtered}


def strip_first_process(close_all: Callable[[], None]) -> None:
    """The first process of the pid namespace waits and nothing else; no other may write to it.

    Hidden first: what it still holds while it lets go, nobody may take from it.
    """
    namespaces.attempt(namespaces.hide_memory)
    close_all()
    namespaces.attempt(namespaces.drop_capabilities)


def seen(raised: Raised, request: Mapping[str, Any]) -> dict[str, Any]:
    """The request with its paths as the scorer's process sees them."""
    if raised[FILES] is not None:
        return dict(request)
    files = request["files"]
    return {**request, "workspace": files["workspace"], "path": files["path"]}


def isolation(raised: Mapping[str, str | None], caps_enforced: Mapping[str, str]) -> dict[str, Any]:
    """What a result says of it: ``{"mode", "enforced", "not_enforced"}``."""
    stands = {name: raised.get(name, "") is None for name in (*KINDS, FILES, CAPABILITIES, SECCOMP)}
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
        properties.DISK: False,  # a file that was opened and unlinked is not counted
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
def _system() -> tuple[tuple[root.Shown, ...], Mapping[str, str]]:
    venv = [sys.prefix] if sys.prefix != sys.base_prefix else []
    return root.system_root(Host.here(), [*venv, *sys.path])


@functools.cache
def _filter() -> bytes | None:
    return own_filter()


def _shown(cells: Mapping[str, Any], pinned: Sequence[int]) -> root.Shown:
    copy_of = None if cells["pinned"] is None else pinned[cells["pinned"]]
    identity = None if cells["identity"] is None else tuple(cells["identity"])
    return root.Shown(
        source=cells["source"],
        target=cells["target"],
        writable=cells["writable"],
        identity=identity,
        copy_of=copy_of,
    )


def _hidden(wanted: Sequence[str], shown: Sequence[str]) -> list[str]:
    """Of the platform's folders those that lie in a tree which is shown."""
    return [path for path in wanted if any(path != tree and path.startswith(f"{tree}/") for tree in shown)]
