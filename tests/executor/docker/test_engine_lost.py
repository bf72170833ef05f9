"""An engine that goes away while a program runs: the platform's fault, whatever the program does."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoscorer.executor.base import AttemptPlan, RunOutcome, StopReason
from autoscorer.executor.docker import containers, waiting
from autoscorer.executor.docker_executor import DockerExecutor
from autoscorer.executor.failures import verdict
from tests.executor.docker.containers import assert_nothing_left, container_plan, mounts_below, settings
from tests.executor.docker.own_engine import OwnEngine, own_engine

pytestmark = [pytest.mark.docker, pytest.mark.slow]

# A program that does its best to look as if it had ended well by itself.
POLITE = "trap 'exit 0' TERM; echo > output/up; while :; do read -t 1 x < /dev/zero; done"
BRIEF = "echo > output/up; i=0; while [ $i -lt 600000 ]; do i=$((i+1)); done; echo done > output/done"


@pytest.fixture
def engine() -> Iterator[OwnEngine]:
    folder = Path(tempfile.mkdtemp(prefix="autoscorer-"))  # short enough for a socket's name
    with own_engine(folder / "engine") as made:
        yield made
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ENGINE_GRACE_S", 3.0)
    monkeypatch.setattr(containers, "ASK_TIMEOUT_S", 1.0)
    monkeypatch.setattr(containers, "REMOVE_TIMEOUT_S", 1.0)


def run_and(
    engine: OwnEngine, plan: AttemptPlan, act: Callable[[], None]
) -> tuple[RunOutcome, DockerExecutor]:
    """Run ``plan`` on ``engine`` and ``act`` as soon as its program is up."""
    acting = threading.Thread(target=act)

    def stop() -> StopReason | None:
        if acting.ident is None and list(plan.out_dir.glob("*/up")):
            acting.start()
        return None

    executor = DockerExecutor(settings(plan.spec_path.parent, docker_host=engine.host))
    outcome = executor.run(plan, stop=stop, on_event=lambda *_: None)
    acting.join(60)
    return outcome, executor


def assert_platform(outcome: RunOutcome, plan: AttemptPlan) -> None:
    error = verdict(outcome, plan.limits)
    assert error is not None
    assert (error.code, error.blame, error.retryable) == ("CONTAINER_WAIT_FAILED", "platform", True)


@pytest.mark.fault("dockerd stopped mid-run, and back")
def test_an_engine_that_is_stopped_ends_the_program_and_that_is_the_platforms_fault(
    engine: OwnEngine, tmp_path: Path
) -> None:
    plan = container_plan(tmp_path, POLITE)
    outcome, executor = run_and(engine, plan, engine.stop)
    assert_platform(outcome, plan)
    assert mounts_below(tmp_path) == []
    engine.start()
    # It is over though its owner lives: it was written down.
    assert {reaped.kind for reaped in executor.reap(lambda _: True)} == {"container"}
    assert_nothing_left(tmp_path)


@pytest.mark.fault("dockerd stopped mid-run, and back")
def test_so_it_is_when_the_engine_is_soon_back(engine: OwnEngine, tmp_path: Path) -> None:
    def restart() -> None:
        engine.stop()
        engine.start()

    plan = container_plan(tmp_path, POLITE)
    outcome, _ = run_and(engine, plan, restart)
    assert_platform(outcome, plan)
    assert outcome.exit_code is None


@pytest.mark.fault("dockerd killed mid-run")
def test_an_engine_that_is_killed_leaves_the_container_to_the_reaper(
    engine: OwnEngine, tmp_path: Path
) -> None:
    plan = container_plan(tmp_path, POLITE)
    outcome, executor = run_and(engine, plan, lambda: engine.stop(signal.SIGKILL))
    assert_platform(outcome, plan)
    engine.start()
    executor.reap(lambda _: True)
    assert engine.docker("ps", "-aq").stdout == b""


@pytest.mark.fault("dockerd hangs mid-run")
def test_an_engine_that_hangs_is_given_up(engine: OwnEngine, tmp_path: Path) -> None:
    plan = container_plan(tmp_path, POLITE)
    outcome, executor = run_and(engine, plan, engine.freeze)
    assert_platform(outcome, plan)
    engine.thaw()
    executor.reap(lambda _: True)
    assert engine.docker("ps", "-aq").stdout == b""


def test_an_engine_that_hangs_for_a_moment_costs_nothing(engine: OwnEngine, tmp_path: Path) -> None:
    def hang_for_a_moment() -> None:
        engine.freeze()
        threading.Event().wait(1.5)
        engine.thaw()

    plan = container_plan(tmp_path, BRIEF)
    outcome, _ = run_and(engine, plan, hang_for_a_moment)
    assert verdict(outcome, plan.limits) is None


def test_a_container_that_somebody_removes_is_no_fault_of_its_program(
    engine: OwnEngine, tmp_path: Path
) -> None:
    def remove_all() -> None:
        for name in engine.docker("ps", "-q").stdout.decode().split():
            engine.docker("rm", "-f", name)

    plan = container_plan(tmp_path, POLITE)
    outcome, _ = run_and(engine, plan, remove_all)
    assert verdict(outcome, plan.limits) is not None
    assert_nothing_left(tmp_path)


@pytest.mark.fault("dockerd stopped mid-run, and back", is_control=True)
def test_control_with_the_engine_up_the_same_program_is_judged_by_its_own_end(
    engine: OwnEngine, tmp_path: Path
) -> None:
    plan = container_plan(tmp_path, POLITE, time_limit_s=1)
    outcome, _ = run_and(engine, plan, lambda: None)
    error = verdict(outcome, plan.limits)
    assert error is not None
    assert error.code == "TIME_LIMIT"
