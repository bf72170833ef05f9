"""The system-call filter of a container: stricter than Docker's own, given to the engine with each.

Docker's default lets a program open a vsock, which reaches the hypervisor past every network namespace,
io_uring and a debugger. This one allows the calls of `seccomp_calls.toml` and, like the sandbox's, only
sockets that are Unix, IP or netlink. A program of another word size is killed at its first call.
"""

from __future__ import annotations

import errno
import functools
import json
import tomllib
from pathlib import Path
from typing import Any

from autoscorer.confine.seccomp import CLONE_NEW_NAMESPACE, SOCKET_FAMILIES

OPTION = "seccomp="
# In the engine's words, the machines whose calls `seccomp_calls.toml` names.
ARCHITECTURES = ("amd64", "arm64")
# A plain Linux, without address randomisation, as an older kernel, both; and the question which it is.
_PERSONALITIES = (0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
_ALLOW, _REFUSE = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"


@functools.cache
def allowed_calls() -> tuple[str, ...]:
    """The calls that are allowed whatever their arguments."""
    path = Path(__file__).with_name("seccomp_calls.toml")
    groups: dict[str, list[str]] = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(sorted(name for names in groups.values() for name in names))


def profile() -> dict[str, Any]:
    """The filter as an engine reads it."""
    first_is_any_of = [
        *(("socket", family) for family in SOCKET_FAMILIES),
        *(("personality", persona) for persona in _PERSONALITIES),
    ]
    return {
        "defaultAction": _REFUSE,
        "defaultErrnoRet": int(errno.EPERM),
        "syscalls": [
            _rule(*allowed_calls()),
            *(_rule(name, first={"op": "SCMP_CMP_EQ", "value": value}) for name, value in first_is_any_of),
            _rule("clone", first={"op": "SCMP_CMP_MASKED_EQ", "value": CLONE_NEW_NAMESPACE, "valueTwo": 0}),
            # Its flags are behind a pointer; libc uses clone when there is no such call.
            {"names": ["clone3"], "action": _REFUSE, "errnoRet": int(errno.ENOSYS)},
        ],
    }


@functools.cache
def security_option() -> str:
    """The filter as a security option, on one line."""
    return OPTION + json.dumps(profile(), separators=(",", ":"))


def _rule(*names: str, first: dict[str, Any] | None = None) -> dict[str, Any]:
    """Allow these calls; ``first`` is what must hold for their first argument."""
    rule: dict[str, Any] = {"names": list(names), "action": _ALLOW}
    return rule if first is None else rule | {"args": [{"index": 0, **first}]}
