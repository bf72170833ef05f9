"""What a hostile program tries under the local backend: its verdict, and nothing of it left behind.

`run` of tests.executor.attempts fails a test by itself when a process, a cgroup or a descriptor is
left, or when the platform is blamed. Every attack has a control: without the guard it works.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from autoscorer.confine import spawn
from autoscorer.confine.cgroups import own_homes
from autoscorer.executor.base import StopReason
from autoscorer.executor.local_executor import IsolationMode
from tests.executor.attempts import MIB, cgroups_of, eventually, make_plan, processes_with, python, run

pytestmark = pytest.mark.slow
MODES = [pytest.param("hardened", marks=pytest.mark.sandbox), "trusted"]
both = pytest.mark.parametrize("mode", MODES)
GRACE_S = spawn.TERMINATE_GRACE_S

DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("{flag}", "w").close()
        time.sleep(60)
    os._exit(0)
while not os.path.exists("{flag}"): pass
"""


@pytest.fixture(params=["cgroup", "polled"])
def memory_guard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to hold a memory limit; the first where this user may make control groups."""
    guard: str = request.param
    if guard == "polled":
        monkeypatch.setattr(spawn, "own_homes", list)
    elif not any(os.access(home.directory, os.W_OK) for home in own_homes()):
        pytest.skip("this user may not make control groups here")
    return guard


def when(flag: Path) -> Callable[[], StopReason | None]:
    return lambda: StopReason.CANCELLED if flag.exists() else None


@both
def test_an_endless_loop_ends_at_its_time_limit(tmp_path: Path, mode: IsolationMode) -> None:
    ran = run(make_plan(tmp_path, python("while True: pass"), time_limit_s=1), mode)
    assert ran.code == "TIME_LIMIT"
    assert 1 <= ran.outcome.duration_s < 1 + GRACE_S + 2


@both
def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path, mode: IsolationMode) -> None:
    source = """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
"""
    ran = run(make_plan(tmp_path, python(source), time_limit_s=1), mode)
    assert ran.code == "TIME_LIMIT"
    assert 1 + GRACE_S <= ran.outcome.duration_s < 1 + GRACE_S + 2


@both
def test_control_with_more_time_the_loop_goes_on(tmp_path: Path, mode: IsolationMode) -> None:
    seen_after_s = 0.0
    started = time.monotonic()

    def stop() -> StopReason | None:
        nonlocal seen_after_s
        seen_after_s = time.monotonic() - started
        return StopReason.CANCELLED if seen_after_s > 2 else None

    ran = run(make_plan(tmp_path, python("while True: pass"), time_limit_s=60), mode, stop=stop)
    assert ran.code == "CANCELLED"
    assert ran.outcome.duration_s > 1


@both
def test_a_daemon_ends_with_its_program(tmp_path: Path, mode: IsolationMode) -> None:
    ran = run(make_plan(tmp_path, python(DAEMON.format(flag="output/up"))), mode)
    assert ran.code is None
    assert (ran.plan.out_dir / "up").exists()


def test_control_a_daemon_outlives_a_plain_subprocess(tmp_path: Path) -> None:
    flag, token = tmp_path / "up", f"token-{os.getpid()}-{time.monotonic_ns()}"
    subprocess.run([sys.executable, "-c", DAEMON.format(flag=flag)], env={"T": token}, check=True)
    left = processes_with(token)
    assert len(left) == 1
    os.kill(left[0], signal.SIGKILL)
    assert eventually(lambda: processes_with(token) == [])


@both
def test_a_memory_bomb_is_stopped(tmp_path: Path, mode: IsolationMode, memory_guard: str) -> None:
    source = "held = []\nwhile True: held.append(bytearray(b'x' * 2**20))"
    ran = run(make_plan(tmp_path, python(source), memory_bytes=96 * MIB), mode)
    assert ran.code == "MEMORY_LIMIT"
    assert f"memory limit ({memory_guard})" in ran.outcome.isolation.enforced


@both
def test_control_with_more_memory_the_same_use_is_fine(
    tmp_path: Path, mode: IsolationMode, memory_guard: str
) -> None:
    source = "held = bytearray(b'x' * (200 * 2**20)); import time; time.sleep(0.5)"
    assert run(make_plan(tmp_path / "a", python(source), memory_bytes=512 * MIB), mode).code is None
    assert run(make_plan(tmp_path / "b", python(source), memory_bytes=96 * MIB), mode).code == "MEMORY_LIMIT"


@both
def test_a_child_killed_for_memory_is_no_failure_of_a_program_that_copes(
    tmp_path: Path, mode: IsolationMode
) -> None:
    if not any("memory" in home.controllers and os.access(home.directory, os.W_OK) for home in own_homes()):
        pytest.skip("without a memory cgroup no single child is killed")
    source = """
import subprocess, sys
bomb = "held = []\\nwhile True: held.append(bytearray(b'x' * 2**20))"
assert subprocess.run([sys.executable, "-c", bomb]).returncode == -9
"""
    ran = run(make_plan(tmp_path, python(source), memory_bytes=96 * MIB), mode)
    assert ran.outcome.details["oom_kills"] == 1
    assert ran.code is None


@both
def test_a_fork_bomb_is_contained(tmp_path: Path, mode: IsolationMode) -> None:
    source = """
import os
while True:
    try: os.fork()
    except OSError: pass
"""
    limit, most = 40, 0

    def count() -> StopReason | None:
        nonlocal most
        most = max(most, len(psutil.Process().children(recursive=True)))
        return None

    ran = run(make_plan(tmp_path, python(source), processes=limit, time_limit_s=1), mode, stop=count)
    assert ran.code == "TIME_LIMIT"
    # The supervisor and, without a pids cgroup, the room that the resource limit leaves.
    assert 10 < most <= limit + 1 + 2 * 16


@both
def test_control_with_a_higher_limit_more_processes_are_made(tmp_path: Path, mode: IsolationMode) -> None:
    source = """
import os, time
for made in range(150):
    if os.fork() == 0: time.sleep(60)
"""
    assert run(make_plan(tmp_path / "a", python(source), processes=400), mode).code is None
    assert run(make_plan(tmp_path / "b", python(source), processes=40), mode).code == "CONTAINER_EXIT_NONZERO"


@both
def test_a_log_flood_of_a_gigabyte_stays_small(tmp_path: Path, mode: IsolationMode) -> None:
    source = """
import os
os.write(1, b"first line\\n")
chunk = b"x" * 2**20
for _ in range(1024):
    left = chunk
    while left: left = left[os.write(1, left):]
os.write(1, b"\\nlast line\\n")
"""
    process = psutil.Process()
    before = process.memory_info().rss
    most = before

    def watch() -> StopReason | None:
        nonlocal most
        most = max(most, process.memory_info().rss)
        return None

    ran = run(make_plan(tmp_path, python(source), log_bytes=MIB, time_limit_s=60), mode, stop=watch)
    assert ran.code is None
    assert len(ran.log) <= MIB
    assert ran.log.startswith(b"first line\n")
    assert ran.log.endswith(b"\nlast line\n")
    assert ran.outcome.log_bytes_dropped > 1023 * MIB
    assert most - before < 60 * MIB
    assert ran.outcome.duration_s < 20


@both
def test_control_a_log_with_room_is_kept_whole(tmp_path: Path, mode: IsolationMode) -> None:
    source = "import os; [os.write(1, b'x' * 1024) for _ in range(2048)]"
    ran = run(make_plan(tmp_path, python(source), log_bytes=8 * MIB), mode)
    assert ran.log == b"x" * 2048 * 1024
    assert ran.outcome.log_bytes_dropped == 0


FILL = """
with open("output/full", "wb", buffering=0) as file:
    for _ in range(40): file.write(bytes(2**20))
"""
FILL_HIDDEN = "import os; os.mkdir('output/hidden', 0o300)" + FILL.replace(
    "output/full", "output/hidden/full"
)
MANY = """
for number in range({count}): open(f"output/{{number}}", "w").close()
"""
DEEP = """
import os
os.chdir("output")
for _ in range(3000):
    os.mkdir("d"); os.chdir("d")
"""


@both
@pytest.mark.parametrize(
    "source",
    [FILL, FILL + "import time; time.sleep(60)", FILL_HIDDEN, MANY.format(count=10**6), DEEP],
)
def test_output_beyond_the_limit_is_stopped(tmp_path: Path, mode: IsolationMode, source: str) -> None:
    ran = run(make_plan(tmp_path, python(source), output_bytes=10 * MIB, output_entries=1000), mode)
    assert ran.code == "OUTPUT_LIMIT"
    assert ran.outcome.duration_s < 15


@both
@pytest.mark.parametrize("source", [FILL, MANY.format(count=5000)])
def test_control_with_a_higher_limit_the_output_is_fine(
    tmp_path: Path, mode: IsolationMode, source: str
) -> None:
    plan = make_plan(tmp_path, python(source), output_bytes=50 * MIB, output_entries=10_000)
    assert run(plan, mode).code is None


def test_a_program_that_kills_its_supervisor_gets_no_second_try(tmp_path: Path) -> None:
    source = DAEMON.format(flag="output/up") + "os.kill(os.getppid(), 9); time.sleep(60)"
    plan = make_plan(tmp_path, python(source))
    if not any(os.access(home.directory, os.W_OK) for home in own_homes()):
        pytest.skip("without a cgroup a daemon of a trusted program may get away, as its report says")
    ran = run(plan, "trusted")
    assert ran.code == "CONTAINER_EXIT_NONZERO"
    assert ran.outcome.details["supervisor_lost"] is True


@pytest.mark.sandbox
def test_in_the_sandbox_there_is_no_supervisor_to_kill(tmp_path: Path) -> None:
    source = """
import os, signal
for pid in [-1, os.getppid(), 1, 2]:
    try: os.kill(pid, signal.SIGKILL)
    except OSError: pass
"""
    ran = run(make_plan(tmp_path, python(source)), "hardened")
    assert "supervisor_lost" not in ran.outcome.details
    assert ran.code in (None, "CONTAINER_EXIT_NONZERO")


EXECUTOR = """
import sys
from pathlib import Path
from tests.executor.attempts import make_plan, python
from autoscorer.executor.local_executor import LocalExecutor
plan = make_plan(Path(sys.argv[1]), python(sys.argv[3]), env={"ATTEMPT_TOKEN": sys.argv[4]})
LocalExecutor(sys.argv[2]).run(plan, stop=lambda: None, on_event=lambda *_: None)
"""


@both
def test_when_the_executor_is_killed_its_program_dies_too(tmp_path: Path, mode: IsolationMode) -> None:
    token = f"token-{os.getpid()}-{time.monotonic_ns()}"
    program = DAEMON.format(flag="output/up") + "time.sleep(60)"
    executor = subprocess.Popen(
        [sys.executable, "-c", EXECUTOR, str(tmp_path), mode, program, token],
        cwd=Path(__file__).parents[2],
    )
    assert eventually((tmp_path / ".attempts/1/out/up").exists)
    assert len(processes_with(token)) >= 2, "control: before the kill program and daemon run"
    executor.kill()
    executor.wait()
    assert eventually(lambda: processes_with(token) == [])
    assert eventually(lambda: cgroups_of(executor.pid) == [])
