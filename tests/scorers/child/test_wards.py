"""The zygote keeps scorers' processes itself: their namespaces' first processes are in its own memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from autoscorer.scorers.child import nursery
from autoscorer.scorers.child.host import ChildHost
from autoscorer.scorers.child.loop import Loop
from autoscorer.utils.errors import AutoscorerError
from tests.cli import environment
from tests.scorers.child import odd
from tests.scorers.child.test_lifetimes import PATIENCE_S, keepers, scorers, wait_for, worlds, zygote_of
from tests.scorers.child.traces import left_since, traces

SEARCH_PATH = nursery.search_path()
pytestmark = [pytest.mark.slow, pytest.mark.sandbox]
WITHOUT = """
import runpy, sys
script, number = sys.argv[1:]
sys.path[:0] = {path!r}
from autoscorer.confine import mounts, namespaces, seccomp
mount = mounts.mount
def showing(source, target, kind, flags, options=None):
    return mount(source, target, kind, flags, None if kind == "proc" else options)
if "memory" in {left_out!r}: namespaces.hide_memory = lambda **_: None
if "processes" in {left_out!r}: mounts.mount = showing
if "siblings" in {left_out!r}: seccomp.CLONE_PARENT = 0
if "capabilities" in {left_out!r}: namespaces.drop_capabilities = lambda: None
sys.argv = [script, number]
runpy.run_path(script, run_name="__main__")
"""
MEMORY = """
def tried(mode):
    try: open("/proc/1/mem", mode).close()
    except OSError: return 0
    return 1
return good(won=float(tried("rb") + tried("r+b")))
"""
SIGHT = """
def seen(name):
    try: return len(open(f"/proc/1/{name}", "rb").read(9)) > 0
    except OSError: return 0
return good(won=float(sum(map(seen, ("mountinfo", "cmdline", "cgroup", "environ", "maps")))))
"""
SIBLINGS = """
libc, born = ctypes.CDLL(None, use_errno=True), 0
clone = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
for ends_at_once in (True, False):
    for _ in range(3):
        pid = libc.syscall(clone, 0x8000 | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            if not ends_at_once: time.sleep(600)
            os._exit(0)
        born += pid > 0
return good(won=float(born))
"""
MEDDLING = """
libc = ctypes.CDLL(None, use_errno=True)
for number in range(1, 65):
    libc.kill(1, number)
    libc.sigqueue(1, number, 0)
    libc.syscall(234, 1, 1, number)
libc.ptrace(16, 1, 0, 0), libc.ptrace(0x4206, 1, 0, 0)
for kind in range(16): libc.prlimit(1, kind, (ctypes.c_uint64 * 2)(0, 0), None)
for kind in range(3): libc.setpriority(kind, 1, 19)
try: os.kill(-1, signal.SIGTERM)
except ProcessLookupError: pass  # nobody else is there
pidfd = libc.syscall(434, 1, 0)
won = sum(libc.syscall(438, pidfd, number, 0) >= 0 for number in range(9))
return good(won=float(won))
"""


def begin_with(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have zygotes begin with ``program``, which goes on with their script."""
    command = nursery._command

    def changed(descriptor: int) -> list[str]:
        *flags, script, number = command(descriptor)
        return [*flags, "-c", program, script, number]

    monkeypatch.setattr(nursery, "_command", changed)


def host_without(left_out: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> ChildHost:
    """Whose zygote leaves these walls out."""
    begin_with(WITHOUT.format(left_out=left_out, path=nursery.search_path()), monkeypatch)
    host = ChildHost(odd.settings(), warm=True)  # its libraries have handlers and threads of their own
    host._nursery._waiting = 0
    return host


@pytest.fixture(autouse=True)
def _needs_worlds() -> None:
    if not worlds():
        pytest.skip("a pid namespace cannot be made on this machine")


@pytest.mark.parametrize(
    ("body", "left_out", "is_won"),
    [
        (MEMORY, (), False),
        (MEMORY, ("processes", "capabilities"), False),
        (MEMORY, ("processes", "memory"), False),
        (
            MEMORY,
            ("processes", "capabilities", "memory"),
            True,
        ),  # the control: any of the three keeps it shut
        (SIGHT, (), False),
        (SIGHT, ("processes",), True),  # the control
        (MEDDLING, (), False),
        (SIBLINGS, (), False),
        (SIBLINGS, ("siblings",), True),  # the control: children of the zygote, which takes them in
    ],
)
def test_the_first_process_of_its_namespace_is_out_of_a_scorers_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, left_out: tuple[str, ...], is_won: bool
) -> None:
    host = host_without(left_out, monkeypatch)
    first = tmp_path / "first"
    first.mkdir()
    odd.score(host, first, "return good()")
    before, began = zygote_of(host), time.monotonic()
    assert (odd.score(host, tmp_path, body).result.metrics["won"] > 0) == is_won
    assert time.monotonic() - began < 9  # before its time limit
    assert odd.score(host, first, "return good()").result.metrics == {"m": 1.0}
    assert zygote_of(host) == before  # it went on all the time
    assert before is not None
    wait_for(lambda: not before.children())
    host.close()


@pytest.fixture
def host() -> Iterator[ChildHost]:
    host = ChildHost(odd.settings())
    yield host
    host.close()


def test_no_keeper_runs_beside_a_score_that_a_cgroup_counts(host: ChildHost, tmp_path: Path) -> None:
    """What sleeps in the zygote's memory has none of its own."""
    body = "time.sleep(2)\nreturn good()"
    before = traces()
    entry, view = odd.entry_of(odd.scorer_file(tmp_path / "code", body)), odd.view(tmp_path)
    found: list[tuple[int, int]] = []

    def look() -> bool:
        if scorers(host) and not found:
            (first,), zygote = keepers(host), zygote_of(host)
            assert zygote is not None
            found.extend((kind.pid, int(kind.memory_info().rss)) for kind in (first, zygote))
            os.kill(first.pid, signal.SIGTERM)
            os.kill(first.pid, signal.SIGINT)
            first.suspend()  # as whoever stops a machine's processes; it has nothing to do anyway
            first.resume()
        return False

    host.score(entry, view, {}, is_stopped=look)
    (first, first_bytes), (zygote, zygote_bytes) = found
    assert first != zygote
    assert abs(first_bytes - zygote_bytes) < 2**20
    host.close()
    assert [line for line in left_since(before) if "threads" not in line] == []


def test_a_score_that_is_stopped_at_once_is_cancelled_and_not_failed(host: ChildHost, tmp_path: Path) -> None:
    entry, view = odd.entry_of(odd.scorer_file(tmp_path / "code", "return good()")), odd.view(tmp_path)
    for _ in range(5):
        with pytest.raises(AutoscorerError) as caught:
            host.score(entry, view, {}, is_stopped=lambda: True)
        assert (caught.value.code, caught.value.blame) == ("CANCELLED", "nobody")
    assert odd.score(host, tmp_path, "return good()").result.metrics == {"m": 1.0}


def test_what_a_scorer_leaves_running_is_gone_with_its_score(host: ChildHost, tmp_path: Path) -> None:
    before = traces()
    body = """
    for _ in range(20):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0: time.sleep(600)
            os._exit(0)
    return good()
    """
    assert odd.score(host, tmp_path, body).result.metrics == {"m": 1.0}
    assert scorers(host) == []
    assert keepers(host) == []
    host.close()
    assert left_since(before) == []


REFUSED = """
import errno, os, socket
from autoscorer.scorers.child import ward, world
from autoscorer.scorers.child.loop import Loop
ours, theirs = socket.socketpair()
entered, opened, loop = world.enter(theirs), os.pidfd_open, Loop()
before = sorted(os.listdir("/proc/self/fd"))
calls = []
def refusing(pid):
    calls.append(pid)
    if len(calls) == {refused}: raise OSError(errno.EMFILE, "too many open files")
    return opened(pid)
os.pidfd_open = refusing
try: ward.Ward(loop, entered)
except OSError as exc: told = exc.strerror
while loop.has_children: loop.turn()
try: os.waitpid(-1, os.WNOHANG); left = "a child"
except ChildProcessError: left = "none"
print(told, left, sorted(os.listdir("/proc/self/fd")) == before, loop.has_children, flush=True)
"""


@pytest.mark.parametrize("refused", [1, 2])
def test_one_that_cannot_be_watched_is_not_left_behind(refused: int) -> None:
    program = REFUSED.format(refused=refused)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=False
    )
    assert (done.stdout, done.stderr) == ("too many open files none True False\n", "")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_what_was_forgotten_in_the_same_turn_is_not_called(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    loop, called = Loop(), []

    def first() -> None:
        called.append("first")
        loop.forget(reading)
        loop.forget(reading)

    loop.watch(writing, first, events=4)
    loop.watch(reading, lambda: called.append("second"))
    os.write(writing, b"x")
    assert loop.turn()
    assert called == ["first"]


LOOPING = """
import os, sys
from autoscorer.scorers.child.loop import Loop
loop, found = Loop(), []
def ended(code):
    pid = os.fork()
    if pid == 0: os._exit(code)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid
stray, watched = ended(3), ended(7)
loop.watch_child(watched, lambda status, usage: found.append((status, usage.ru_maxrss > 0)))
assert loop.has_children
loop.turn()
print([(os.waitstatus_to_exitcode(status), used) for status, used in found], loop.has_children)
try: os.waitpid(-1, 0)
except ChildProcessError: print("none is left")
"""


def test_children_are_taken_in_with_what_they_used_and_strays_too() -> None:
    done = subprocess.run([sys.executable, "-c", LOOPING], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[(7, True)] False\nnone is left\n", "")


def test_a_set_up_that_fails_is_told_and_leaves_nothing_open(
    host: ChildHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that wait fail as well: what is handed to one that is gone must not stay open in the zygote."""
    host._nursery._waiting = 2
    monkeypatch.setattr(nursery, "search_path", lambda: [*SEARCH_PATH, str(tmp_path / "gone")])
    (tmp_path / "gone").mkdir()
    assert odd.score(host, tmp_path, "return good()").result.metrics == {"m": 1.0}
    zygote = zygote_of(host)
    assert zygote is not None
    (tmp_path / "gone").rmdir()
    before = zygote.num_fds()
    for _ in range(25):
        with pytest.raises(AutoscorerError) as caught:
            odd.score(host, tmp_path, "return good()")
        assert (caught.value.code, caught.value.blame) == ("EXEC_ERROR", "platform")
        assert "FileNotFoundError" in str(caught.value.details["reason"])
    wait_for(lambda: zygote.num_fds() <= before + 10)  # those of two that wait are five each
    (tmp_path / "gone").mkdir()
    assert odd.score(host, tmp_path, "return good()").result.metrics == {"m": 1.0}


FULL = """
import resource, runpy, sys
script, number = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))
sys.argv = [script, number]
runpy.run_path(script, run_name="__main__")
"""


def test_a_zygote_without_descriptors_is_the_platforms_fault(
    host: ChildHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_with(FULL, monkeypatch)
    with pytest.raises(AutoscorerError) as caught:
        odd.score(host, tmp_path, "return good()")
    assert (caught.value.code, caught.value.blame) == ("EXEC_ERROR", "platform")


NO_PIDFDS = """
import os, runpy, sys
script, number = sys.argv[1:]
del os.pidfd_open
sys.argv = [script, number]
runpy.run_path(script, run_name="__main__")
"""


def test_where_a_process_cannot_be_watched_a_keeper_is_forked(
    host: ChildHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_with(NO_PIDFDS, monkeypatch)
    for _ in range(3):
        assert odd.score(host, tmp_path, "return good()").result.metrics == {"m": 1.0}
    zygote = zygote_of(host)
    assert zygote is not None
    wait_for(lambda: not zygote.children())


def test_a_zygote_that_was_killed_gets_no_second_try(host: ChildHost, tmp_path: Path) -> None:
    entry = odd.entry_of(odd.scorer_file(tmp_path / "code", "time.sleep(0.3)\nreturn good()"))
    view = odd.view(tmp_path)
    for _ in range(12):
        killed: list[psutil.Process] = []

        def kill_it(killed: list[psutil.Process] = killed) -> bool:
            if not killed and scorers(host):
                zygote = zygote_of(host)
                assert zygote is not None
                zygote.kill()
                killed.append(zygote)
            return False

        assert host.score(entry, view, {}, is_stopped=kill_it).result.metrics == {"m": 1.0}
        assert killed


def test_scores_go_on_when_one_of_them_stands_still(host: ChildHost, tmp_path: Path) -> None:
    """A scorer's process that is stopped from outside delays no other, and its time limit ends it."""
    entry = odd.entry_of(odd.scorer_file(tmp_path / "code", "time.sleep(1)\nreturn good()"))
    view = odd.view(tmp_path)
    stopped: list[psutil.Process] = []
    other = tmp_path / "other"
    other.mkdir()

    def stop_it() -> bool:
        if not stopped and scorers(host):
            (scorer,) = scorers(host)
            scorer.suspend()
            stopped.append(scorer)
            assert odd.score(host, other, "return good()").result.metrics == {"m": 1.0}
        return False

    with pytest.raises(AutoscorerError) as caught:
        host.score(entry, view, {}, is_stopped=stop_it)
    assert caught.value.code == "SCORER_TIMEOUT"
    assert psutil.wait_procs(stopped, PATIENCE_S)[1] == []
