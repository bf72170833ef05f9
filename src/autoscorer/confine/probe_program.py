"""The prober's other half: run as the program, it tries to break out and writes down what it could do.

Standard library only. Reads input/facts.json, writes output/findings.json: property -> what was
possible, empty where nothing was.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

CLONE_NEWUSER = 0x10000000
AF_VSOCK = 40
KEYCTL = {"x86_64": 250, "aarch64": 219}

Facts = dict[str, Any]


def network(facts: Facts) -> Iterator[str]:
    if _does(lambda: _connect(socket.AF_INET, ("127.0.0.1", facts["port"]))):
        yield "reached a listener on the host's loopback"
    if _does(lambda: _connect(socket.AF_UNIX, facts["abstract_socket"])):
        yield "reached an abstract Unix socket of the host"


def filesystem(facts: Facts) -> Iterator[str]:
    for path in facts["host_files"]:
        if _does(Path(path).read_bytes):
            yield f"read {Path(path).name} of the host"
    if not facts["shows_sysfs"] and Path("/sys/kernel").exists():
        yield "sees /sys"
    if facts["engine_socket"] and _does(lambda: _connect(socket.AF_UNIX, facts["engine_socket"])):
        yield "reached the container engine"
    if len(os.listdir("/proc/self/fd")) > 4:  # 0, 1, 2 and the listing itself
        yield "inherited open files"


def read_only(facts: Facts) -> Iterator[str]:
    for path in ("/usr/.autoscorer-probe", "input/.autoscorer-probe", "/.autoscorer-probe"):
        if _does(Path(path).touch):
            Path(path).unlink()
            yield f"wrote into {Path(path).parent}"
    for path in ("/proc/sys/kernel/core_pattern", "meta.json"):
        if _does(partial(_open_to_write, path)):
            yield f"may write {path}"
    for folder, _, names in os.walk("/sys"):
        for path in (folder, *(f"{folder}/{name}" for name in names)):
            if not os.path.islink(path) and os.access(path, os.W_OK):  # noqa: PTH114 - 30,000 of them
                yield f"may write {path}"
                return


def processes(facts: Facts) -> Iterator[str]:
    # In a namespace of its own another process may have that number.
    if _shares(facts, "pid") and _does(lambda: os.kill(facts["host_pid"], 0)):
        yield "may signal our process"
    for name in filter(str.isdigit, os.listdir("/proc")):
        environ = Path("/proc", name, "environ")
        if _does(partial(_find, environ, facts["secret"])):
            yield "read a secret in another process's environment"


def ipc(facts: Facts) -> Iterator[str]:
    for name in ("cgroup", "ipc", "uts"):
        if _shares(facts, name):
            yield f"is in the host's {name} namespace"


def host_user(facts: Facts) -> Iterator[str]:
    for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines():
        inside, outside, count = map(int, line.split())
        if inside <= os.getuid() < inside + count and os.getuid() - inside + outside == facts["host_uid"]:
            yield "outside it is our user"


def capabilities(facts: Facts) -> Iterator[str]:
    for name in ("CapEff", "CapPrm", "CapBnd"):
        if int(_status(name), 16):
            yield f"{name} is not empty"
    if os.getuid() == 0:
        yield "runs as root"


def user_namespaces(facts: Facts) -> Iterator[str]:
    child = os.fork()
    if child == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(CLONE_NEWUSER) == 0 else 1)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        yield "made a user namespace"


def seccomp(facts: Facts) -> Iterator[str]:
    if _status("Seccomp") != "2":
        yield "no filter is loaded"
    if ctypes.CDLL(None).syscall(KEYCTL.get(os.uname().machine, -1), 0, -3, 0) >= 0:
        yield "reached a kernel keyring"
    if _does(lambda: socket.socket(AF_VSOCK, socket.SOCK_STREAM).close()):
        yield "opened a vsock"


def no_new_privileges(facts: Facts) -> Iterator[str]:
    if _status("NoNewPrivs") != "1":
        yield "a setuid program would give privileges"


def environment(facts: Facts) -> Iterator[str]:
    if facts["secret"] in os.environ.values():
        yield "our environment was passed on"


CHECKS: dict[str, Callable[[Facts], Iterator[str]]] = {
    check.__name__: check
    for check in (
        network,
        filesystem,
        read_only,
        processes,
        ipc,
        host_user,
        capabilities,
        user_namespaces,
        seccomp,
        no_new_privileges,
        environment,
    )
}


def _shares(facts: Facts, namespace: str) -> bool:
    own = str(Path("/proc/self/ns", namespace).readlink())
    return bool(own == facts["host_namespaces"][namespace])


def _connect(family: int, address: Any) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(2)
        client.connect(address)


def _open_to_write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY))


def _find(path: Path, text: str) -> None:
    path.read_bytes().index(text.encode())


def _does(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, ValueError):
        return False
    return True


def _status(name: str) -> str:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next((line.split()[1] for line in lines if line.startswith(f"{name}:")), "0")


def main() -> int:
    facts = json.loads(Path("input/facts.json").read_text(encoding="utf-8"))
    findings = {name: sorted(set(check(facts))) for name, check in CHECKS.items()}
    Path("output/findings.json").write_text(json.dumps(findings), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
