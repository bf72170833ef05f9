"""The names of what keeps a program apart, as results and `doctor` report them."""

from __future__ import annotations

from collections.abc import Mapping

NETWORK = "no network"
FILESYSTEM = "only /usr, the interpreter and the workspace are visible"
READ_ONLY = "read-only root, input and meta.json"
PROCESSES = "own process namespace"
IPC = "own ipc, uts and cgroup namespaces"
CAPABILITIES = "no capabilities"
USER_NAMESPACES = "no new user namespaces"
SECCOMP = "seccomp filter"
HOST_USER = "a host user other than ours"

PACKAGES = "only /usr, the interpreter, its packages, the scorer and the view are visible"
READ_ONLY_VIEW = "read-only root, reference, input and predictions"
NAMES = "own uts namespace"
CGROUPS = "own cgroup namespace"

NO_NEW_PRIVILEGES = "no new privileges"
CLEAN_ENVIRONMENT = "clean environment"
WHOLE_TREE = "daemons are ended with the program"
TIME = "time limit"
LOG = "log limit"
OUTPUT = "output limit (polled)"
DISK = "disk quota"

# What the local backend never enforces, and what that means.
UNENFORCED = {
    HOST_USER: "outside the sandbox the program's user is ours; run AutoScorer as a user of its own",
    DISK: "output is measured a few times a second; a file written and unlinked is not seen",
}

_BY_SANDBOX = (NETWORK, FILESYSTEM, READ_ONLY, PROCESSES, IPC, CAPABILITIES, USER_NAMESPACES)
_ALWAYS = (NO_NEW_PRIVILEGES, CLEAN_ENVIRONMENT, TIME, LOG, OUTPUT)
CAPS = {"memory": "memory limit", "pids": "process limit", "cpu": "cpu limit"}


def describe(
    *, hardened: bool, filters_calls: bool, caps_enforced: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(enforced, not enforced). ``caps_enforced`` says by what a cap holds: cgroup, rlimit or polled."""
    held = dict.fromkeys(_BY_SANDBOX, hardened)
    held[SECCOMP] = filters_calls
    held[HOST_USER] = False
    held |= dict.fromkeys(_ALWAYS, True)
    # As ourselves a program can kill its supervisor; then only a cgroup still knows its daemons.
    held[WHOLE_TREE] = hardened or "cgroup" in caps_enforced.values()
    held[DISK] = False
    for cap, name in CAPS.items():
        means = caps_enforced.get(cap)
        held[f"{name} ({means})" if means else name] = means is not None
    return tuple(n for n, ok in held.items() if ok), tuple(n for n, ok in held.items() if not ok)
