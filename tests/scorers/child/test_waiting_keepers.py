"""Keepers that wait for a score: seen by none before, kept by none after, gone with whoever made them."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from autoscorer.scorers.child import cradle, newborn, nursery
from autoscorer.scorers.child.cradle import COUNTED, POLLED, Cradle, Cradles
from autoscorer.scorers.child.host import ChildHost
from tests.cli import environment
from tests.scorers.child import odd
from tests.scorers.child.test_lifetimes import PATIENCE_S, ROOT, keepers, scorers, wait_for, worlds, zygote_of
from tests.scorers.child.traces import left_since, traces

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]
WAITING = 2
# Of the scorer's process: when it was born, and whether another score left anything.
# A checkout below /tmp is shown to a scorer at its own place there; anything else is somebody's.
OURS = [f"/tmp/{ROOT.parts[2]}"] if ROOT.is_relative_to("/tmp") else []
BORN = (
    f"ours = {OURS}"
    + """
born = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
folders = ("/tmp", "/dev/shm", workspace / "output" / "artifacts")
there = [f"{folder}/{name}" for folder in folders for name in os.listdir(folder)]
found = [path for path in there if path not in ours]
traces = len(found) + hasattr(sys, "was_here")
sys.was_here = True
for folder in folders: open(f"{folder}/mine", "w").close()
if traces: raise RuntimeError(f"left by another: {found}")
return good(born=born, traces=float(traces))
"""
)


def host_with(waiting: int) -> ChildHost:
    host = ChildHost(odd.settings())
    host._nursery._waiting = waiting
    return host


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChildHost]:
    """A host with keepers that wait, whatever others mount on this machine meanwhile."""
    monkeypatch.setattr(nursery, "_command", blind)
    host = host_with(WAITING)
    first = tmp_path / "first"
    first.mkdir()
    odd.score(host, first, "return good()")
    wait_for(lambda: all_wait(host))
    yield host
    host.close()


def ready(host: ChildHost) -> list[tuple[psutil.Process, psutil.Process]]:
    """Those that wait, the scorer's process of each at the end; none while any is on its way."""
    try:
        first, scorer = (sorted(found, key=lambda it: it.pid) for found in (keepers(host), scorers(host)))
    except (psutil.NoSuchProcess, FileNotFoundError):  # one that ends
        return []
    return list(zip(first, scorer, strict=True)) if len(first) == len(scorer) else []


def all_wait(host: ChildHost) -> bool:
    """As many wait as shall, and nothing of a score is left."""
    zygote = zygote_of(host)
    family = zygote.children(recursive=True) if zygote else []
    return len(ready(host)) == WAITING and len(family) == 2 * WAITING


def born_before(host: ChildHost, folder: Path) -> float:
    """For how many seconds the scorer's process was there when its score began."""
    called_at = time.clock_gettime(time.CLOCK_BOOTTIME)
    metrics = odd.score(host, folder, BORN).result.metrics
    assert metrics["traces"] == 0
    return called_at - metrics["born"]


def test_a_score_is_computed_by_a_process_that_waited_for_it_and_for_no_other(
    host: ChildHost, tmp_path: Path
) -> None:
    begun = time.clock_gettime(time.CLOCK_BOOTTIME)
    wait_for(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) > begun + 0.1)
    assert born_before(host, tmp_path) > 0.05
    for _ in range(5):
        wait_for(lambda: all_wait(host))
        born_before(host, tmp_path)  # and finds nothing of the others
    cold = host_with(0)
    assert born_before(cold, tmp_path) < 0.05  # the control
    cold.close()


@pytest.mark.parametrize("ended_by", ["close", "death of the zygote"])
def test_those_that_wait_end_with_whoever_made_them(host: ChildHost, ended_by: str) -> None:
    zygote = psutil.Process(host.zygote_pid)
    family = zygote.children(recursive=True)
    if ended_by == "close":
        host.close()
    else:
        os.kill(zygote.pid, signal.SIGKILL)
    assert psutil.wait_procs(family, PATIENCE_S)[1] == []


PLATFORM = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.scorers.child import odd
from tests.scorers.child.test_waiting_keepers import host_with
host = host_with(2)
odd.score(host, Path(sys.argv[1]), "return good()")
print("scored", flush=True)
time.sleep(600)
"""


def test_a_killed_platform_leaves_none_that_waits(tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, "-c", PLATFORM, tmp_path, ROOT]
    platform = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment())
    assert platform.stdout is not None
    platform.stdout.readline()
    own = psutil.Process(platform.pid)
    wait_for(lambda: len(own.children(recursive=True)) == 1 + worlds() + 2 * WAITING)
    family = own.children(recursive=True)
    platform.kill()
    platform.communicate()
    assert psutil.wait_procs(family, PATIENCE_S)[1] == []


@pytest.mark.parametrize("victim", ["keeper", "scorer's process"])
def test_one_that_was_killed_while_it_waited_costs_no_score(
    host: ChildHost, tmp_path: Path, victim: str
) -> None:
    before = traces()
    for family in ready(host):
        family[["keeper", "scorer's process"].index(victim)].kill()
        assert psutil.wait_procs(family, PATIENCE_S)[1] == []
    for _ in range(3):
        assert odd.score(host, tmp_path, "return good()").result.metrics == {"m": 1.0}
    host.close()
    assert left_since(before) == []


def test_one_that_waits_holds_nothing_but_its_own_sockets_and_pipes(host: ChildHost) -> None:
    """Whatever a score brings passes through the zygote while others are forked."""
    for _, process in ready(host):
        held = [
            os.readlink(f"/proc/{process.pid}/fd/{number}")
            for number in os.listdir(f"/proc/{process.pid}/fd")
        ]
        assert {name.split(":")[0] for name in held} <= {
            *("/dev/null", "pipe", "socket", "/memfd"),  # the memory file is its standard error
        }
        sockets = [name for name in held if name.startswith("socket")]
        assert len(sockets) == 1


MOUNTING = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from autoscorer.confine import mounts, namespaces
namespaces.unshare(namespaces.MOUNTS)
mounts.mount(None, "/", None, mounts.RECURSIVE | mounts.PRIVATE)
from autoscorer.scorers.child import nursery
from tests.scorers.child import odd
from tests.scorers.child.test_lifetimes import wait_for
from tests.scorers.child.test_waiting_keepers import WAITING, all_wait, blind, host_with
if sys.argv[3] == "blind": nursery._command = blind
folder = Path(sys.argv[1])
host = host_with(WAITING)
found = []
def look():
    body = 'return good(there=float((workspace / "reference" / "new.csv").exists()))'
    found.append(odd.score(host, folder, body).result.metrics["there"])
look()
wait_for(lambda: all_wait(host))
mounts.mount_tmpfs(str(folder / "view" / "reference"), "mode=0755,size=1m")
(folder / "view" / "reference" / "new.csv").write_text("id,label\\n")
look()
host.close()
print(json.dumps(found))
"""
BLIND = """
import os, runpy, sys
script, number = sys.argv[1:]
opened = os.open
os.open = lambda path, *more: opened("/dev/null" if path == "/proc/self/mountinfo" else path, *more)
sys.argv = [script, number]
runpy.run_path(script, run_name="__main__")
"""


def blind(descriptor: int) -> list[str]:
    """The command of a zygote that does not see when something is mounted."""
    script = Path(cradle.__file__).with_name("zygote.py")
    return [sys.executable, "-I", "-X", "utf8", "-c", BLIND, str(script), str(descriptor)]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount something on this machine")
def test_what_was_mounted_meanwhile_is_seen(tmp_path: Path) -> None:
    def found(*more: str) -> list[float]:
        folder = tmp_path / (more[0] if more else "seeing")
        folder.mkdir()
        command: list[str | Path] = [sys.executable, "-c", MOUNTING, folder, ROOT, *(more or ("seeing",))]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        assert done.returncode == 0, done.stderr
        told: list[float] = json.loads(done.stdout)
        return told

    assert found() == [0.0, 1.0]
    assert found("blind") == [0.0, 0.0]  # the control


class Machine:
    """What keepers are made of; they answer with the state it was in when they were forked."""

    def __init__(self) -> None:
        self.state = "first"
        self.reading, self._writing = os.pipe()

    def keep(self, own: socket.socket, _scorers: socket.socket) -> NoReturn:
        newborn.close_all_but({own.fileno(), self._writing})
        made_of, (_, score) = self.state, cradle.receive(own)
        if score:
            os.write(self._writing, made_of.encode())
        os._exit(0)

    def answer(self) -> str:
        assert select.select([self.reading], [], [], PATIENCE_S)[0]
        return os.read(self.reading, 100).decode()


def test_one_that_was_made_of_another_machine_is_let_go() -> None:
    machine = Machine()
    null = os.open(os.devnull, os.O_RDWR)
    makers = {COUNTED: lambda: Cradle(machine.keep, os.fork)}
    for identities, expected in ((lambda: machine.state, "second"), (lambda: None, "first")):
        machine.state = "first"
        cradles = Cradles(1, makers=makers, identities=identities, mounts=machine.reading)
        cradles.refill()
        machine.state = "second"
        cradles.hand_over(COUNTED, [null] * 7)
        assert machine.answer() == expected  # the second is the control
        cradles.let_go()
    for descriptor in (null, machine.reading, machine._writing):
        os.close(descriptor)


def test_one_of_the_other_kind_takes_no_score() -> None:
    machine = Machine()
    null = os.open(os.devnull, os.O_RDWR)

    def made(state: str) -> Cradle:
        machine.state = state
        return Cradle(machine.keep, os.fork)

    makers = {COUNTED: lambda: made("counted"), POLLED: lambda: made("polled")}
    cradles = Cradles(1, makers=makers, identities=lambda: None, mounts=machine.reading)
    cradles.refill()
    for kind in (COUNTED, POLLED, POLLED):
        cradles.hand_over(kind, [null] * 7)
        assert machine.answer() == kind.decode()
        cradles.refill()
    cradles.let_go()
    for descriptor in (null, machine.reading, machine._writing):
        os.close(descriptor)


def test_a_keeper_that_was_let_go_takes_no_score() -> None:
    gone = Cradle(lambda *_: os._exit(1), os.getpid)
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        gone.hand_over([0] * 7)
    gone.close()
