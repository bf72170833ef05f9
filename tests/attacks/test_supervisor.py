"""The process that supervises a job is killed at every stage; the next run, or `clean`, removes all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.attacks.arena import Arena, job_id_of
from tests.attacks.case import BUSYBOX, Attack, Plain
from tests.attacks.leftovers import container_events, containers_of, left_behind
from tests.attacks.proxy import Proxy
from tests.attacks.record import Record
from tests.cli import call, environment
from tests.executor.attempts import eventually

pytestmark = [pytest.mark.slow, pytest.mark.docker]
GROUP = "Supervisor killed"
JOB = Attack(
    name="job",
    program="echo x > output/pred.csv; sleep 0.3",
    image=BUSYBOX,
    expected=(None,),
    control=Plain(),
)
LOOKS_AT_THE_IMAGE = "HEAD /containers/*/archive"
CREATE = "POST /containers/create"
# The calls of a run in their order: a kill before or after each of them is a kill at every step.
CALLS = [
    "GET /info",
    "GET /images/*/json",
    LOOKS_AT_THE_IMAGE,
    CREATE,
    "POST /containers/*/attach",
    "POST /containers/*/start",
    "GET /containers/*/json",
    "DELETE /containers/*",
]
STAGES = ["prepare", "execute", "harvest"]
SUPERVISOR = """
import os, signal, sys
from autoscorer import pipeline
from autoscorer.runtime import job_context
from autoscorer.scorers.catalog import Catalog
from autoscorer.utils.config import Config
workspace, stage = sys.argv[1:]
def on_stage(name):
    if name == stage: os.kill(os.getpid(), signal.SIGKILL)
pipeline.run(job_context(Config().settings, Catalog(), backend="docker", on_stage=on_stage), workspace)
"""


def supervise(arena: Arena, workspace: Path, stage: str) -> subprocess.Popen[bytes]:
    """A process that runs the job, and kills itself when ``stage`` begins."""
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(workspace), stage],
        env=environment(**arena.variables()),
        cwd=arena.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def die_at(between: Proxy, supervisor: list[subprocess.Popen[bytes]], step: str, when: str) -> None:
    """Have the supervisor killed when this call comes, or when the engine has answered it."""

    def kill(seen: str) -> bool:
        # Before it makes its container, a run removes what others have left.
        if seen != step or (CREATE not in between.calls and CALLS.index(step) > CALLS.index(CREATE)):
            return False
        supervisor[0].kill()
        supervisor[0].wait()
        return True

    def refuse(seen: str) -> int | None:
        return 500 if kill(seen) else None

    def look_on(seen: str) -> None:
        kill(seen)

    if when == "before":
        between.judge = refuse
    else:
        between.witness = look_on


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", CALLS)
def test_what_a_killed_supervisor_left_is_removed(
    arena: Arena, between: Proxy, record: Record, step: str, when: str
) -> None:
    name = f"supervisor killed {when} {step}"
    record.tried(GROUP, name, expected=(None,))
    if step != LOOKS_AT_THE_IMAGE:
        assert arena.run(JOB).code is None, "now the image is known, and not looked at again"
        between.calls.clear()
    workspace, since = arena.workspace(JOB), time.time()
    supervisor: list[subprocess.Popen[bytes]] = []
    die_at(between, supervisor, step, when)
    supervisor.append(supervise(arena, workspace, "none"))
    assert supervisor[0].wait(30) == -signal.SIGKILL
    between.judge, between.witness = (lambda _call: None), (lambda _call: None)
    steps = [(call_, moment) for call_ in CALLS for moment in ("before", "after")]
    has_one = steps[steps.index((CREATE, "after")) : -1]
    if (step, when) in has_one:
        # A run of another test process may have removed it by now; its supervisor has not.
        made = container_events(arena.engine, job_id_of(workspace), since=since)
        assert any(event["Action"] == "create" for event in made), "control: it had a container"
        record.control(GROUP, name)
        record.worked()
    remove(arena, by_clean=when == "after")
    left = left_behind(arena.engine, workspace, job_id_of(workspace), since=since)
    record.left(left)
    assert left == []
    record.contained()


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_supervisor_killed_between_its_steps_left_is_removed(
    arena: Arena, record: Record, stage: str
) -> None:
    record.tried(GROUP, f"supervisor killed at its stage {stage}", expected=(None,))
    workspace, since = arena.workspace(JOB), time.time()
    assert supervise(arena, workspace, stage).wait(30) == -signal.SIGKILL
    assert (workspace / ".attempts").exists()
    again = arena.run(JOB, workspace=workspace)
    assert again.code is None
    assert (workspace / "output" / "pred.csv").read_text() == "x\n"
    left = left_behind(arena.engine, workspace, job_id_of(workspace), since=since)
    record.left(left)
    assert left == []
    record.contained()


def remove(arena: Arena, *, by_clean: bool) -> None:
    """By command, or by the next run, whatever its workspace."""
    if by_clean:
        called = call("clean", "--backend", "docker", env=arena.variables(), cwd=arena.root)
        assert called.exit_code == 0, called.stdout
    else:
        assert arena.run(JOB).code is None


def test_a_living_supervisors_job_is_left_alone(arena: Arena, record: Record) -> None:
    record.tried(GROUP, "clean while another job runs", expected=(None,))
    workspace = arena.workspace(replace(JOB, program="sleep 2; echo x > output/pred.csv"))
    supervisor = supervise(arena, workspace, "none")
    assert eventually(lambda: bool(containers_of(arena.engine, job_id_of(workspace))), within_s=60)
    remove(arena, by_clean=True)
    assert supervisor.wait(30) == 0
    assert (workspace / "output" / "pred.csv").read_text() == "x\n"
    record.left([])
    record.contained()


@pytest.mark.parametrize("mebibytes", [100, pytest.param(1024, marks=pytest.mark.long)])
def test_the_supervisors_memory_stays_flat(arena: Arena, record: Record, mebibytes: int) -> None:
    record.tried(GROUP, f"memory of the supervisor under a log flood of {mebibytes} MB", expected=(None,))
    flood = f"dd if=/dev/zero bs=1M count={mebibytes} 2>/dev/null"
    quiet = peak_of(supervise(arena, arena.workspace(replace(JOB, program="true")), "none"))
    loud = peak_of(supervise(arena, arena.workspace(replace(JOB, program=flood, time_limit_s=120)), "none"))
    assert loud < quiet + 40 * 2**20
    record.left([])
    record.contained()


def peak_of(process: subprocess.Popen[bytes]) -> int:
    """The most memory it had, in bytes; it must end well."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024
