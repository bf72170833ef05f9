"""What a hostile program tries to read or reach under the local backend; each with its control."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscorer.executor.local_executor import IsolationMode
from tests.executor.attempts import make_plan, python, run

pytestmark = pytest.mark.slow

SPY = """
import os, sys
token, found = sys.argv[1].encode(), set()
for name in filter(str.isdigit, os.listdir("/proc")):
    try:
        if int(name) == os.getpid() or token in open(f"/proc/{name}/cmdline", "rb").read(): continue
    except OSError: continue  # it has ended meanwhile
    try: found |= {"environ"} if token in open(f"/proc/{name}/environ", "rb").read() else set()
    except OSError: pass
    try:
        maps = [line.split() for line in open(f"/proc/{name}/maps") if "[stack]" in line]
        memory = open(f"/proc/{name}/mem", "rb", buffering=0)
        for low, high in (line[0].split("-") for line in maps):
            memory.seek(int(low, 16))
            found |= {"memory"} if token in memory.read(int(high, 16) - int(low, 16)) else set()
    except (OSError, ValueError): pass
open("output/found", "w").write(" ".join(sorted(found)))
"""


@pytest.fixture
def secretive() -> Iterator[str]:
    """A process of ours with a secret in its environment, and so on its stack."""
    secret = f"secret-{os.getpid()}-{time.monotonic_ns()}"
    process = subprocess.Popen(["sleep", "60"], env={"PATH": "/usr/bin:/bin", "S": secret})
    yield secret
    process.kill()
    process.wait()


def spied(tmp_path: Path, mode: IsolationMode, secret: str) -> set[str]:
    ran = run(make_plan(tmp_path, ("python", "-c", SPY, secret)), mode)
    assert ran.code is None, ran.outcome.stderr_tail
    return set((ran.plan.out_dir / "found").read_text().split())


@pytest.mark.sandbox
def test_no_other_processs_environment_or_memory_is_read(tmp_path: Path, secretive: str) -> None:
    assert spied(tmp_path, "hardened", secretive) == set()


def test_control_trusted_reads_both(tmp_path: Path, secretive: str) -> None:
    assert spied(tmp_path, "trusted", secretive) == {"environ", "memory"}


HUNT = """
import os, sys
token, roots, found = sys.argv[1], sys.argv[2].split(":"), []
for root in roots:
    for folder, _, files in os.walk(root):
        if folder.startswith("/proc/") and "/task/" in folder: continue
        for name in files:
            path = os.path.join(folder, name)
            if token in name: found.append(path)
            elif not folder.startswith(("/usr", "/proc", "/dev", "/sys", sys.base_prefix)):
                try:
                    if token in open(path, errors="replace").read(10**6): found.append(path)
                except OSError: pass
for name in filter(str.isdigit, os.listdir("/proc")):
    for way in ("root", "cwd"):
        path = f"/proc/{name}/{way}{sys.argv[3]}"
        if os.path.exists(path): found.append(path)
for way in ("../reference", "input/../../reference", "output/../../../reference"):
    if os.path.exists(way): found.append(way)
open("output/found", "w").write("\\n".join(found))
"""


def hunted(tmp_path: Path, mode: IsolationMode, roots: str) -> list[str]:
    token = f"truth{os.getpid()}x{time.monotonic_ns()}"
    workspace = tmp_path / "ws"
    plan = make_plan(workspace, ())
    truth = workspace / "reference" / f"{token}.csv"
    truth.write_text(f"id,label\n1,{token}\n")
    (workspace / "input" / "link").symlink_to("../reference")
    plan = make_plan(workspace, ("python", "-c", HUNT, token, roots, str(truth)))
    ran = run(plan, mode)
    assert ran.code is None, ran.outcome.stderr_tail
    return (plan.out_dir / "found").read_text().split()


@pytest.mark.sandbox
def test_the_truth_is_nowhere_in_what_the_program_can_see(tmp_path: Path) -> None:
    assert hunted(tmp_path, "hardened", "/") == []


def test_control_trusted_finds_the_truth(tmp_path: Path) -> None:
    assert hunted(tmp_path, "trusted", str(tmp_path)) != []


CALL_OUT = """
import socket, sys
reached = []
inet, abstract = ("127.0.0.1", int(sys.argv[1])), "\\0" + sys.argv[2]
for family, address in ((socket.AF_INET, inet), (socket.AF_UNIX, abstract)):
    try:
        with socket.socket(family) as client: client.settimeout(2); client.connect(address)
        reached.append(family.name)
    except OSError: pass
open("output/reached", "w").write(" ".join(reached))
"""


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        pytest.param("hardened", [], marks=pytest.mark.sandbox),
        pytest.param("trusted", ["AF_INET", "AF_UNIX"], id="control-trusted"),
    ],
)
def test_a_listener_of_the_host_is_out_of_reach(
    tmp_path: Path, mode: IsolationMode, expected: list[str]
) -> None:
    name = f"autoscorer-{os.getpid()}-{time.monotonic_ns()}"
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = sockets.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{name}")
        abstract.listen()
        plan = make_plan(tmp_path, ("python", "-c", CALL_OUT, str(listener.getsockname()[1]), name))
        assert run(plan, mode).code is None
    assert (plan.out_dir / "reached").read_text().split() == expected


@pytest.mark.sandbox
def test_the_kernels_settings_cannot_be_written_even_as_root(tmp_path: Path) -> None:
    source = """
import os
may = []
for folder, _, files in os.walk("/proc"):
    if folder.split("/")[2:3] and folder.split("/")[2][:1].isdigit(): continue
    for name in files:
        try: os.close(os.open(os.path.join(folder, name), os.O_WRONLY)); may.append(name)
        except OSError: pass
assert may == [], may
"""
    ran = run(make_plan(tmp_path, python(source)), "hardened")
    assert ran.code is None, ran.outcome.stderr_tail


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may write the kernel's settings")
def test_control_trusted_root_may_write_the_kernels_settings(tmp_path: Path) -> None:
    source = "import os; os.close(os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY))"
    assert run(make_plan(tmp_path, python(source)), "trusted").code is None
