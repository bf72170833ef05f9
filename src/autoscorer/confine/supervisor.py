"""The process between us and a program: starts it, adopts its orphans, kills the whole tree.

Run as ``python -I -S -B supervisor.py CONFIG_FD CONTROL_FD STATUS_FD`` by `confine.spawn`. It imports
nothing of ours and no json (8 ms of its 20). CONFIG_FD holds one marshalled dict. CONTROL_FD is our
leash: ``T`` sends SIGTERM to the tree, ``K`` or end of file kills it. STATUS_FD gets lines:

    started PID                                 the program runs; its clock starts
    failed TEXT                                 it could not be set up: our fault, nothing ran
    ended EXIT_CODE SIGNAL CPU_S MAX_RSS_BYTES  it and all it left behind are gone ('-' for none)

A subreaper, so a daemon that forked twice and called setsid is still below it. `supervise` is the same
for a program that is forked instead of exec'ed: the scorer's keeper calls it.
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
_LIBC = ctypes.CDLL(None, use_errno=True)  # made once: a keeper would pay for a class of its own
KILL_BUDGET_S = 10.0
POLL_MS = 1000


def main() -> None:
    config_fd, control, status = (int(text) for text in sys.argv[1:4])
    parent = os.getppid()
    with open(config_fd, "rb") as file:  # noqa: PTH123 - a descriptor, and pathlib costs 6 ms
        config: dict[str, Any] = marshal.load(file)  # noqa: S302 - from our own parent, never from a program
    supervise(config, parent=parent, control=control, status=status, start=_start)


def supervise(
    config: dict[str, Any],
    *,
    parent: int,
    control: int,
    status: int,
    start: Callable[[dict[str, Any]], tuple[int, str]],
) -> None:
    """Start the program by ``start``, which gives its pid and "" or why it could not be set up, and stay
    until it and all below it are gone."""
    wakeup = become_supervisor()
    program, failure = start(config)
    _let_go_of_program_fds(config)
    if failure:
        say(status, f"failed {failure}")
        return
    stay(program, config, parent=parent, control=control, status=status, wakeup=wakeup, end=kill_tree)


def become_supervisor() -> int:
    """Be deaf to signals and take in orphans; a pipe that tells when a child ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    return _wake_on_child_exit()


def stay(
    program: int,
    config: dict[str, Any],
    *,
    parent: int,
    control: int,
    status: int,
    wakeup: int,
    end: Callable[[int, dict[str, Any], int | None], int | None],
) -> None:
    """Until the program and all below it are gone, or the leash had them killed; told to ``status``.

    ``end`` ends what is left: `kill_tree`, or `end_namespace` for the first process of a pid namespace.
    """
    say(status, f"started {program}")
    wait_status, orphaned = _watch(program, config, parent=parent, control=control, wakeup=wakeup)
    wait_status = end(program, config, wait_status)
    # What all our children used that we took in.
    say(status, ended_line(wait_status, resource.getrusage(resource.RUSAGE_CHILDREN)))
    if orphaned:  # else our parent reads the counters first and removes them itself
        _remove_cgroups(config)


def _watch(
    program: int, config: dict[str, Any], *, parent: int, control: int, wakeup: int
) -> tuple[int | None, bool]:
    """Until the program ends or the leash says kill: (its wait status if it did, whether we are orphaned)."""
    poller = select.poll()
    for descriptor in (control, wakeup):
        poller.register(descriptor, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poller.poll(POLL_MS)}
        if wakeup in ready:
            os.read(wakeup, 4096)
        wait_status = _reap(program)
        if wait_status is not None:
            return wait_status, False
        command = os.read(control, 1) if control in ready else None
        # A fork of our parent may hold the leash's other end; the parent's pid cannot be held.
        if command == b"" or os.getppid() != parent:
            return None, True
        if command == b"K":
            return None, False
        if command == b"T":
            for pid in _descendants():
                if not (config["wrapper"] and pid == program):
                    _signal(pid, signal.SIGTERM)


def _start(config: dict[str, Any]) -> tuple[int, str]:
    """Fork and exec the program: (pid, "" or why it could not be set up)."""
    supervisor = os.getpid()
    reading, writing = os.pipe()  # both ends close by themselves on exec
    program = os.fork()
    if program == 0:
        try:
            _become_program(config, supervisor, writing)
        finally:
            os._exit(1)  # whatever went wrong, there is one supervisor
    os.close(writing)
    with open(reading, "rb") as file:  # noqa: PTH123
        return program, file.read().decode(errors="replace")


def _become_program(config: dict[str, Any], supervisor: int, failure_fd: int) -> NoReturn:
    """In the child. A fault of the set-up is told to ``failure_fd``; a command that is no program is
    the program's own exit code 127 or 126, as a shell has it."""
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)
        _confine_self(config)
        keep = {0, 1, 2, failure_fd, *config["pass_fds"]}
        for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
            if descriptor not in keep:
                close_quietly(descriptor)
    except (OSError, ValueError) as exc:
        os.write(failure_fd, f"{type(exc).__name__}: {exc}".encode())
        os._exit(1)
    name = config["argv"][0]
    try:
        os.execvpe(name, config["argv"], config["env"])  # noqa: S606 - no shell is the point
    except (FileNotFoundError, NotADirectoryError):
        os.write(2, f"{name}: command not found\n".encode())
        os._exit(127)
    except (OSError, ValueError) as exc:
        os.write(2, f"{name}: cannot execute: {exc}\n".encode())
        os._exit(126)


def _confine_self(config: dict[str, Any]) -> None:
    os.setsid()
    join_groups(config)
    go_first()
    lower_limits(config)
    if config["no_new_privileges"]:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    for number in range(1, signal.NSIG):
        if signal.getsignal(number) == signal.SIG_IGN:  # Python ignores SIGPIPE; exec would pass that on
            signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    os.chdir(config["cwd"])
    for descriptor in config["pass_fds"]:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - no keyword there


def join_groups(config: dict[str, Any], *, machine: str = "") -> None:
    """Enter the program's cgroups; ``machine`` is where this machine's root is.

    We have one thread. Version 1 lets a thread enter by `tasks` without the lock over all processes that
    `cgroup.procs` takes, which lasts up to 16 ms while others start and end (measured: 0.1 ms at most).
    """
    for path in (machine + path for path in config["cgroup_procs"]):
        tasks = path.removesuffix("cgroup.procs") + "tasks"
        _write(tasks if os.access(tasks, os.W_OK) else path, "0")


def go_first(*, machine: str = "") -> None:
    """Go before all others if the machine runs out of memory; ``machine`` is where this machine's root is."""
    _write(f"{machine}/proc/self/oom_score_adj", "1000")


def lower_limits(config: dict[str, Any]) -> None:
    """Set the resource limits, soft and hard."""
    for kind, wanted in config["rlimits"]:
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


def end_namespace(program: int, config: dict[str, Any], wait_status: int | None) -> int | None:
    """In the first process of a pid namespace: kill all others in it until nothing is left; the program's
    wait status, also if it was reaped before.

    A process that has nobody left to take in has nobody below it: without children we are alone.
    """
    _signal(-1, signal.SIGKILL)  # all but us, and a fork of theirs does not outrun it
    deadline = time.monotonic() + KILL_BUDGET_S  # one that the kernel holds may take longer
    while time.monotonic() < deadline:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        wait_status = ended if pid == program else wait_status
        if pid == 0:
            time.sleep(0.0005)
    return wait_status


def kill_tree(program: int, config: dict[str, Any], wait_status: int | None) -> int | None:
    """Kill all below us until nothing is left; the program's wait status, also if it was reaped before.

    No new task can be born while this runs where a cgroup counts them; elsewhere each pass stops
    what it finds before it kills, so that a fork bomb cannot outrun it.
    """
    for directory in config["cgroup_dirs"]:
        _write_quietly(directory + "/pids.max", "0")
    deadline = time.monotonic() + KILL_BUDGET_S
    while time.monotonic() < deadline:
        alive = {*_descendants(), *_cgroup_members(config)} - {os.getpid()}
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in alive:
                _signal(pid, number)
        reaped = _reap(program)
        wait_status = reaped if wait_status is None else wait_status
        if not alive:
            break
        time.sleep(0.002)
    return wait_status


def _reap(program: int) -> int | None:
    """Take in every child that ended; the wait status of ``program`` if it was among them."""
    found = None
    while True:
        try:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == program:
            found = wait_status


def _descendants() -> list[int]:
    """All living processes below this one, parents before their children."""
    children: dict[int, list[int]] = {}
    for pid, parent in _living():
        children.setdefault(parent, []).append(pid)
    found = list(children.get(os.getpid(), ()))
    for pid in found:  # grows while it is walked
        found.extend(children.get(pid, ()))
    return found


def _living() -> Iterator[tuple[int, int]]:
    """(pid, parent pid) of every process that is not a zombie."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                state, parent = file.read().rpartition(b")")[2].split(None, 2)[:2]
        except (OSError, ValueError):
            continue
        if state not in (b"Z", b"X"):
            yield int(name), int(parent)


def _cgroup_members(config: dict[str, Any]) -> list[int]:
    members = []
    for path in config["cgroup_procs"]:
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                members += [int(line) for line in file if line.strip() != b"0"]
        except OSError:
            continue
    return members


def _remove_cgroups(config: dict[str, Any]) -> None:
    for directory in config["cgroup_dirs"]:
        for _ in range(200):
            try:
                os.rmdir(directory)  # noqa: PTH106
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.01)  # the last task is still on its way out
            else:
                break


def ended_line(wait_status: int | None, usage: resource.struct_rusage) -> str:
    """How the program ended and what was used, as STATUS_FD tells it."""
    code, number = "-", str(int(signal.SIGKILL))
    if wait_status is not None and os.WIFSIGNALED(wait_status):
        number = str(os.WTERMSIG(wait_status))
    elif wait_status is not None:
        code, number = str(os.WEXITSTATUS(wait_status)), "-"
    return f"ended {code} {number} {usage.ru_utime + usage.ru_stime:.3f} {usage.ru_maxrss * 1024}"


def _wake_on_child_exit() -> int:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def _let_go_of_program_fds(config: dict[str, Any]) -> None:
    """Our copies of its pipes would keep them from ever reaching end of file."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for descriptor in config["pass_fds"]:
        close_quietly(descriptor)


def prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _write_quietly(path: str, text: str) -> None:
    try:
        _write(path, text)
    except OSError:
        return


def close_quietly(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError as exc:
        if exc.errno != errno.EBADF:
            raise


def say(status: int, line: str) -> None:
    try:
        os.write(status, line.encode() + b"\n")
    except BrokenPipeError:
        return


if __name__ == "__main__":
    main()
