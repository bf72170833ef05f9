"""The hardened way to run a program: bubblewrap, with a root file system made for it.

The program sees /usr, the interpreter, its input (read-only) and its output; all namespaces are its
own, it has no capabilities and cannot get any. As root its user is still ours outside the sandbox, and
the kernel lets that user write /proc/sys without a capability *(measured: core_pattern, which is run
as root)*; so what Docker makes read-only or masks below /proc is read-only or masked here too.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from autoscorer.confine.interpreter import Interpreter, find_interpreter
from autoscorer.confine.seccomp import own_filter
from autoscorer.confine.spawn import Command
from autoscorer.confine.view import DEFAULT_ENV, View
from autoscorer.utils.errors import AutoscorerError

OLDEST = (0, 8)
UID = 65534
ALIAS_DIR = "/opt/autoscorer/bin"
PROC_READ_ONLY = ("acpi", "bus", "fs", "irq", "mtrr", "pressure", "scsi", "sys", "sysrq-trigger", "tty")
PROC_MASKED = ("kallsyms", "kcore", "key-users", "keys", "kmsg", "latency_stats", "sched_debug", "timer_list")
_ROOT_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")


@dataclass(frozen=True, kw_only=True)
class Host:
    """The facts of this machine that the arguments depend on. ``root_links`` maps /bin to usr/bin or None."""

    interpreter: Interpreter
    root_links: Mapping[str, str | None]
    etc: tuple[str, ...]
    proc: frozenset[str]

    @classmethod
    def here(cls) -> Host:
        roots = [Path("/", name) for name in _ROOT_LINKS]
        return cls(
            interpreter=find_interpreter(),
            root_links={
                str(path): str(path.readlink()) if path.is_symlink() else None
                for path in roots
                if path.exists()
            },
            etc=tuple(path for path in _ETC if Path(path).exists()),
            proc=frozenset(os.listdir("/proc")) & {*PROC_READ_ONLY, *PROC_MASKED},
        )


def arguments(view: View, host: Host) -> list[str]:
    """bubblewrap's options for ``view``, without descriptors and program."""
    return [
        *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", "--disable-userns", "--uid", str(UID), "--gid", str(UID)),
        *("--hostname", "sandbox", "--cap-drop", "ALL", "--new-session", "--die-with-parent"),
        *_system_mounts(view, host),
        *_proc_mounts(host),
        *("--dev", "/dev", *_tmpfs("/dev/shm", view.shm_bytes), *_tmpfs("/tmp", view.tmp_bytes)),  # noqa: S108
        *("--ro-bind", str(view.input_dir), "/workspace/input"),
        *("--bind", str(view.out_dir), "/workspace/output"),
        *("--ro-bind", str(view.spec_path), "/workspace/meta.json"),
        *("--chdir", "/workspace", "--remount-ro", "/dev", "--remount-ro", "/"),
        *_environment(view, host.interpreter),
    ]


def _system_mounts(view: View, host: Host) -> list[str]:
    shown = [Path("/usr"), *(Path(path) for path, link in host.root_links.items() if link is None)]
    shown += [tree for tree in host.interpreter.trees if not _inside(tree, shown)]
    args = [part for tree in shown for part in _read_only(str(tree))]
    for path, link in host.root_links.items():
        args += ["--symlink", link, path] if link is not None else []
    args += [part for path in host.etc for part in _read_only(path)]
    for name, target in host.interpreter.aliases.items():
        args += ["--symlink", str(target), f"{ALIAS_DIR}/{name}"]
    # A workspace below /usr/local or beside an interpreter would show its reference/. A mask inside a
    # mask cannot be made: the outer one is read-only and empty.
    for folder in sorted(set(view.hidden)):
        others = [other for other in view.hidden if other != folder]
        if not _inside(folder, shown) or _inside(folder, others):
            continue
        if folder.is_file():
            args += ["--ro-bind", "/dev/null", str(folder)]
        else:
            args += [*_tmpfs(str(folder), 4096), "--remount-ro", str(folder)]
    return args


def _proc_mounts(host: Host) -> list[str]:
    args = ["--proc", "/proc"]
    for name in PROC_READ_ONLY:
        args += _read_only(f"/proc/{name}") if name in host.proc else []
    for name in PROC_MASKED:
        args += ["--ro-bind", "/dev/null", f"/proc/{name}"] if name in host.proc else []
    return args


def _environment(view: View, interpreter: Interpreter) -> list[str]:
    """By option, not by bubblewrap's own environment: LD_PRELOAD there would run outside the sandbox."""
    base = {"PATH": interpreter.search_path(ALIAS_DIR), "HOME": "/tmp", **DEFAULT_ENV}  # noqa: S108
    pairs = [("--setenv", name, value) for name, value in {**base, **view.env}.items()]
    return ["--clearenv", *(part for pair in pairs for part in pair)]


def _inside(path: Path, trees: list[Path]) -> bool:
    return any(path.is_relative_to(tree) for tree in trees)


def _read_only(path: str) -> list[str]:
    return ["--ro-bind", path, path]


def _tmpfs(path: str, size_bytes: int) -> list[str]:
    return ["--perms", "1777", "--size", str(size_bytes), "--tmpfs", path]


class Sandbox:
    """One program's sandbox: its command, and whether it was ever entered. Close it always."""

    def __init__(self, view: View, program: tuple[str, ...]) -> None:
        """Raises AutoscorerError RESOURCE_UNAVAILABLE where bubblewrap cannot run."""
        bwrap = usable_bubblewrap()
        self._fds = ExitStack()
        self._descriptors: list[int] = []
        options = arguments(view, Host.here())
        content = "\0".join(options).encode() + b"\0"
        fixed = ["--args", str(self._memory_file("options", content))]
        bpf = own_filter()
        self.filters_calls = bpf is not None
        if bpf is not None:
            fixed += ["--seccomp", str(self._memory_file("seccomp", bpf))]
        self._status = self._memory_file("status", b"")
        fixed += ["--json-status-fd", str(self._status)]
        self.command = Command(
            # The shell gives "command not found" its usual exit code; bubblewrap's would be 1, as for
            # a fault of its own.
            argv=(str(bwrap), *fixed, "--", "/bin/sh", "-c", 'exec "$@"', "sh", *program),
            env={},
            cwd=Path("/"),
            pass_fds=tuple(self._descriptors),
            wrapper=True,
            no_new_privileges=False,  # bubblewrap sets it inside; a setuid bubblewrap could not start with it
        )

    def _memory_file(self, name: str, content: bytes) -> int:
        descriptor = os.memfd_create(f"sandbox-{name}")
        self._fds.callback(os.close, descriptor)
        self._descriptors.append(descriptor)
        os.pwrite(descriptor, content, 0)
        return descriptor

    def was_entered(self) -> bool:
        """Whether the program's shell was exec'ed; bubblewrap tells an exit code only then."""
        documents = os.pread(self._status, 65536, 0).decode().splitlines()
        return any("exit-code" in json.loads(line) for line in documents if line.strip())

    def close(self) -> None:
        self._fds.close()


@functools.cache
def usable_bubblewrap() -> Path:
    """The bubblewrap of this machine, once it has run a trivial program.

    Raises AutoscorerError RESOURCE_UNAVAILABLE, with what to do.
    """
    found = shutil.which("bwrap")
    if found is None:
        raise _unavailable("bubblewrap is not installed")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST:
        raise _unavailable(f"bubblewrap is too old ({version.strip() or 'unknown'}); 0.8 is needed")
    for pause_s in (0.1, 0.5, 0.0):  # a machine at its limit of processes has room again a moment later
        trial = _trial(found)
        if trial.returncode == 0:
            return Path(found)
        time.sleep(pause_s)
    raise _unavailable(f"bubblewrap cannot make a sandbox here ({trial.stderr.strip()[-200:]})")


def _trial(bwrap: str) -> subprocess.CompletedProcess[str]:
    """A trivial program in a sandbox."""
    options = ("--unshare-all", "--unshare-user", "--disable-userns", "--ro-bind", "/", "/")
    return subprocess.run([bwrap, *options, "/bin/true"], capture_output=True, text=True, check=False, env={})


def _unavailable(reason: str) -> AutoscorerError:
    return AutoscorerError(
        "RESOURCE_UNAVAILABLE",
        f"The local sandbox cannot start: {reason}.",
        {
            "expected": "bubblewrap 0.8 or newer, allowed to make user namespaces",
            "example": "apt-get install bubblewrap (dnf install bubblewrap); for programs you trust add "
            "--isolation trusted",
        },
    )
