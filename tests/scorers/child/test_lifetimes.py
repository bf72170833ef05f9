"""Zygotes and keepers may die at any time: the score comes all the same, and nothing stays behind."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.child import nursery
from autoscorer.scorers.child.host import ChildHost
from autoscorer.utils.errors import AutoscorerError
from tests.cli import environment
from tests.scorers.child import odd
from tests.scorers.child.traces import left_since, traces

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them

PATIENCE_S = 30.0
SLEEPING = "time.sleep(float(params['seconds']))\nreturn good(m=params['value'])"
SUPERVISED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.scorers.child import odd
from autoscorer.scorers.child.host import ChildHost
host = ChildHost(odd.settings(scorer_time_limit_s=600))
print("starting", flush=True)
host.score(odd.entry_of(Path(sys.argv[1])), Path(sys.argv[2]), {"seconds": 600, "value": 1.0})
"""
REFUSING = """
import ctypes, errno, os, runpy, sys
script, number, refused = sys.argv[1:]
calls = []
def refusing(fork):
    calls.append(None)
    if len(calls) == int(refused): raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()
class Library(ctypes.PyDLL):
    def fork(self): return refusing(self["fork"])
    def clone(self, *how): return refusing(lambda: self["clone"](*how))
os.fork, ctypes.PyDLL = (lambda fork: lambda: refusing(fork))(os.fork), Library
sys.argv = [script, number]
runpy.run_path(script, run_name="__main__")
"""
ROOT = Path(__file__).parents[3]
PROBE = """
import socket
from autoscorer.scorers.child import world
ours, theirs = socket.socketpair()
print(world.enter(theirs).pids is not None, flush=True)
"""


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        threading.Event().wait(0.01)


@functools.cache
def worlds() -> int:
    """1 where a zygote has a world of its own on this machine, and a process that stays outside."""
    told = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True).stdout
    return int(told.strip() == "True")


def zygote_of(host: ChildHost) -> psutil.Process | None:
    """The process that keepers are forked from: in a world of its own it is the child of the one started."""
    if host.zygote_pid is None:
        return None
    started = psutil.Process(host.zygote_pid)
    return next(iter(started.children()), None) if worlds() else started


def keepers(host: ChildHost) -> list[psutil.Process]:
    """What ends a score's processes with itself: the first of its pid namespace, else its keeper."""
    zygote = zygote_of(host)
    children = zygote.children() if zygote is not None else []
    return [child for child in children if not worlds() or is_first(child)]


def scorers(host: ChildHost) -> list[psutil.Process]:
    """Scorers' processes: forked by the zygote beside the first of the namespace, or by a keeper."""
    zygote = zygote_of(host)
    family = zygote.children(recursive=True) if zygote is not None else []
    above = keepers(host)
    return [process for process in family if process not in above]


def is_first(process: psutil.Process) -> bool:
    """Whether it is the first process of its pid namespace."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(line.split()[-1] for line in lines if line.startswith("NSpid:")) == "1"


def scorer_runs(host: ChildHost) -> bool:
    try:
        return bool(scorers(host))
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False


@pytest.fixture
def sleeping(tmp_path: Path) -> Callable[[ChildHost, float], float]:
    """Score by a scorer that sleeps a while, then gives 0.25."""
    entry = odd.entry_of(odd.scorer_file(tmp_path / "code", SLEEPING))
    root = odd.view(tmp_path)

    def score(host: ChildHost, seconds: float) -> float:
        return host.score(entry, root, {"seconds": seconds, "value": 0.25}).result.metrics["m"]

    return score


def test_scores_side_by_side_do_not_mix(tmp_path: Path, host: ChildHost) -> None:
    entry = odd.entry_of(odd.scorer_file(tmp_path / "code", SLEEPING))
    views = [odd.view(tmp_path / str(number)) for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        found = pool.map(
            lambda number: host.score(entry, views[number], {"seconds": 0.05, "value": float(number)}),
            range(12),
        )
        assert [scoring.result.metrics["m"] for scoring in found] == [float(number) for number in range(12)]


def test_a_zygote_killed_between_scores_is_replaced(sleeping: Callable[[ChildHost, float], float]) -> None:
    host = ChildHost(odd.settings())
    assert sleeping(host, 0) == 0.25
    first = host.zygote_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert sleeping(host, 0) == 0.25
    assert host.zygote_pid not in (None, first)
    host.close()


@pytest.mark.parametrize("victim", ["outer process", "zygote", "keeper"])
def test_a_score_in_flight_survives_the_death_of_those_above_it(
    sleeping: Callable[[ChildHost, float], float], victim: str
) -> None:
    host = ChildHost(odd.settings())
    sleeping(host, 0)
    before = traces()
    with ThreadPoolExecutor(1) as pool:
        score = pool.submit(sleeping, host, 2)
        wait_for(lambda: scorer_runs(host))
        zygote, (keeper, *_) = zygote_of(host), keepers(host)
        assert zygote is not None
        targets = {"outer process": host.zygote_pid, "zygote": zygote.pid, "keeper": keeper.pid}
        os.kill(targets[victim] or 0, signal.SIGKILL)
        assert score.result(PATIENCE_S) == 0.25
    assert [line for line in left_since(before) if "threads" not in line and "processes" not in line] == []
    host.close()
    assert [line for line in left_since(before) if "threads" not in line] == []


def test_a_score_whose_keeper_dies_twice_is_given_up(sleeping: Callable[[ChildHost, float], float]) -> None:
    host = ChildHost(odd.settings())
    sleeping(host, 0)
    with ThreadPoolExecutor(1) as pool:
        score = pool.submit(sleeping, host, 30)
        for _ in range(2):
            wait_for(lambda: scorer_runs(host))
            (keeper,) = keepers(host)
            keeper.kill()
            assert psutil.wait_procs([keeper], PATIENCE_S)[1] == []
        with pytest.raises(AutoscorerError) as caught:
            score.result(PATIENCE_S)
    assert (caught.value.code, caught.value.blame) == ("SCORER_CRASH", "organiser")
    host.close()


def test_closing_ends_what_still_runs(sleeping: Callable[[ChildHost, float], float]) -> None:
    host = ChildHost(odd.settings(scorer_time_limit_s=120))
    sleeping(host, 0)
    zygote = psutil.Process(host.zygote_pid)
    with ThreadPoolExecutor(1) as pool:
        score = pool.submit(sleeping, host, 600)
        wait_for(lambda: scorer_runs(host))
        family = zygote.children(recursive=True)
        started = time.monotonic()
        host.close()
        assert time.monotonic() - started < 60  # half its time limit
        assert psutil.wait_procs([zygote, *family], PATIENCE_S)[1] == []
        with pytest.raises(AutoscorerError) as caught:
            score.result(PATIENCE_S)
    assert (caught.value.code, caught.value.blame) == ("CANCELLED", "nobody")


@pytest.mark.slow
def test_a_killed_platform_leaves_no_process(tmp_path: Path) -> None:
    code = odd.scorer_file(tmp_path / "code", SLEEPING)
    command: list[str | Path] = [sys.executable, "-c", SUPERVISED, code, odd.view(tmp_path), ROOT]
    platform = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment())
    assert platform.stdout is not None
    platform.stdout.readline()
    own = psutil.Process(platform.pid)
    wait_for(lambda: len(own.children(recursive=True)) >= 3 + worlds())
    family = own.children(recursive=True)
    platform.kill()
    platform.communicate()
    assert psutil.wait_procs(family, PATIENCE_S)[1] == []


def test_a_close_that_comes_twice_is_no_fault() -> None:
    catalog = Catalog(lambda: ChildHost(odd.settings()))
    catalog.child()
    catalog.close()
    catalog.close()


def test_a_closed_host_starts_nothing_again(sleeping: Callable[[ChildHost, float], float]) -> None:
    host = ChildHost(odd.settings())
    assert sleeping(host, 0) == 0.25  # the control: before, it scores
    host.close()
    with pytest.raises(AutoscorerError) as caught:
        sleeping(host, 0)
    assert (caught.value.code, caught.value.blame) == ("CANCELLED", "nobody")
    assert host.zygote_pid is None


@pytest.mark.parametrize("refused", ["a keeper", "the scorer's own process"])
def test_a_process_that_the_machine_refuses_is_the_platforms_fault(
    sleeping: Callable[[ChildHost, float], float], monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    command = nursery._command
    number_of_fork = ["a keeper", "the scorer's own process"].index(refused) + 1 + worlds()

    def refusing(descriptor: int) -> list[str]:
        *flags, script, number = command(descriptor)
        return [*flags, "-c", REFUSING, script, number, str(number_of_fork)]

    monkeypatch.setattr(nursery, "_command", refusing)
    host = ChildHost(odd.settings())
    with pytest.raises(AutoscorerError) as caught:
        sleeping(host, 0)
    assert (caught.value.code, caught.value.blame) == ("EXEC_ERROR", "platform")
    assert "Resource temporarily unavailable" in str(caught.value.details["reason"])
    if refused == "a keeper":  # the same zygote goes on
        zygote = host.zygote_pid
        assert (sleeping(host, 0), host.zygote_pid) == (0.25, zygote)
    host.close()
