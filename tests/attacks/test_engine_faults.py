"""An engine that fails: whose fault it is, how long it may take, and what is left when it is back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.attacks.arena import Arena, Contained, connect, job_id_of
from tests.attacks.case import BUSYBOX, Attack, Plain
from tests.attacks.images import Images
from tests.attacks.leftovers import containers_of, left_behind
from tests.attacks.proxy import Proxy
from tests.attacks.record import Record
from tests.cli import call
from tests.executor.attempts import eventually
from tests.executor.docker.own_engine import OwnEngine, own_engine

pytestmark = [pytest.mark.slow, pytest.mark.docker]
GROUP = "Engine faults"
SHORT = Attack(name="short", program="true", image=BUSYBOX, expected=(None,), control=Plain())
LONG = replace(SHORT, program="sleep 4; echo x > output/pred.csv", time_limit_s=30)


@pytest.fixture
def own(short_path: Path) -> Iterator[OwnEngine]:
    with own_engine(short_path / "engine") as engine:
        yield engine


@pytest.fixture
def own_arena(own: OwnEngine, tmp_path: Path) -> Iterator[Arena]:
    client = connect(own.host)
    yield Arena(engine=client, host=own.host, root=tmp_path, images=Images(client))
    client.close()


def clean(arena: Arena) -> None:
    called = call("clean", "--backend", "docker", env=arena.variables(), cwd=arena.root)
    assert called.exit_code == 0, called.stdout


# --- calls that fail


def test_a_start_that_fails_leaves_no_container(arena: Arena, between: Proxy, record: Record) -> None:
    record.tried(GROUP, "start fails after create", expected=("EXEC_ERROR",), blame="platform")
    between.refuse("POST /containers/*/start")
    workspace = arena.workspace(SHORT)
    ran = arena.run(SHORT, workspace=workspace)
    assert ran.code == "EXEC_ERROR", ran.error and ran.error.details
    kept = inspect_of(workspace)
    assert kept["error"]["engine"] == "refused by the test"
    assert kept["inspect"]["State"]["Status"] == "created"
    assert "Env" not in str(kept["inspect"])
    assert ran.error is not None
    assert ran.error.blame == "platform"
    record.left(ran.left)
    assert ran.left == []
    record.contained()


def test_a_create_that_fails_is_the_platforms_fault(arena: Arena, between: Proxy, record: Record) -> None:
    record.tried(GROUP, "create fails", expected=("CONTAINER_CREATE_FAILED",), blame="platform")
    between.refuse("POST /containers/create")
    workspace = arena.workspace(SHORT)
    ran = arena.run(SHORT, workspace=workspace)
    assert ran.code == "CONTAINER_CREATE_FAILED"
    kept = inspect_of(workspace)
    assert kept["error"]["engine"] == "refused by the test"
    assert kept["command"] == SHORT.command
    assert "outcome" not in kept
    between.judge = lambda _call: None
    assert arena.run(SHORT, workspace=workspace).code is None
    assert not (workspace / "logs" / "inspect.json").exists(), "it told of the run before"
    assert ran.error is not None
    assert ran.error.blame == "platform"
    record.left(ran.left)
    assert ran.left == []
    record.contained()


def test_a_remove_that_fails_is_tried_again(arena: Arena, between: Proxy, record: Record) -> None:
    record.tried(GROUP, "remove fails once", expected=(None,))
    between.refuse("DELETE /containers/*", times=1)
    ran = arena.run(SHORT)
    assert ran.code is None
    record.left(ran.left)
    assert ran.left == []
    record.contained()


def test_what_could_not_be_removed_goes_with_the_next_run(
    arena: Arena, between: Proxy, record: Record
) -> None:
    record.tried(GROUP, "remove fails always", expected=(None,))
    assert arena.run(SHORT).code is None, "now the image is known, and not looked at again"
    between.refuse("DELETE /containers/*")
    workspace = arena.workspace(SHORT)
    first = arena.run(SHORT, workspace=workspace)
    assert first.code is None
    assert any("container" in thing for thing in first.left), "control: the container could not be removed"
    between.judge = lambda _call: None
    second = arena.run(SHORT)
    assert second.code is None, second.error and (second.error.message, second.error.details)
    left = left_behind(arena.engine, workspace, job_id_of(workspace), since=time.time())
    record.left(left)
    assert left == []
    record.contained()


def test_control_through_the_proxy_a_job_succeeds(arena: Arena, between: Proxy, record: Record) -> None:
    for name in ("start fails after create", "create fails", "remove fails once", "remove fails always"):
        record.control(GROUP, name)
    ran = arena.run(SHORT)
    assert (ran.code, ran.left) == (None, [])
    assert "DELETE /containers/*" in between.calls
    record.worked()


# --- an engine that goes away


def test_an_engine_that_is_restarted_is_the_platforms_fault_and_the_job_is_tried_again(
    own: OwnEngine, own_arena: Arena, record: Record
) -> None:
    record.tried(GROUP, "engine stopped and started again", expected=(None,), blame="platform")
    workspace = own_arena.workspace(LONG)
    with ThreadPoolExecutor() as pool:
        running = _run_in(pool, own_arena, workspace)
        own.stop()
        own.start()
        ran = running.result(timeout=120)
    assert ran.code is None, ran.error and (ran.error.message, ran.error.details)
    assert (workspace / "output" / "pred.csv").read_text() == "x\n"
    record.left(ran.left)
    assert ran.left == []
    record.contained()


@pytest.mark.long
def test_an_engine_that_does_not_come_back_is_the_platforms_fault(
    own: OwnEngine, own_arena: Arena, record: Record
) -> None:
    codes = ("CONTAINER_WAIT_FAILED", "RESOURCE_UNAVAILABLE")
    record.tried(GROUP, "engine killed and gone", expected=codes, blame="platform")
    workspace = own_arena.workspace(LONG)
    with ThreadPoolExecutor() as pool:
        running = _run_in(pool, own_arena, workspace)
        own.stop(9)
        error = running.exception(timeout=120)
    assert isinstance(error, requests.ConnectionError), "the arena itself cannot ask any more"
    own.start()
    clean(own_arena)
    left = left_behind(own_arena.engine, workspace, job_id_of(workspace), since=time.time())
    record.left(left)
    assert left == []
    result = (workspace / "output" / "result.json").read_text()
    assert any(code in result for code in codes)
    assert '"participant"' not in result
    record.contained()


@pytest.mark.long
def test_an_engine_that_hangs_is_given_up_in_time(own: OwnEngine, own_arena: Arena, record: Record) -> None:
    codes = ("CONTAINER_WAIT_FAILED", "RESOURCE_UNAVAILABLE")
    record.tried(GROUP, "engine hangs", expected=codes, blame="platform")
    workspace = own_arena.workspace(LONG)
    started = time.monotonic()
    with ThreadPoolExecutor() as pool:
        running = _run_in(pool, own_arena, workspace)
        own.freeze()
        assert eventually(lambda: b'"error"' in _result(workspace), within_s=150)
        took_s = time.monotonic() - started
        own.thaw()
        ran = running.result(timeout=60)
    assert ran.code in codes
    assert ran.error is not None
    assert ran.error.blame != "participant"
    assert took_s < 120
    clean(own_arena)
    left = left_behind(own_arena.engine, workspace, job_id_of(workspace), since=time.time())
    record.left(left)
    assert left == []
    record.contained()


def test_control_a_hung_engine_does_not_answer_and_a_well_one_runs_the_job(
    own: OwnEngine, own_arena: Arena, record: Record
) -> None:
    for name in ("engine stopped and started again", "engine killed and gone", "engine hangs"):
        record.control(GROUP, name)
    ran = own_arena.run(replace(LONG, program="echo x > output/pred.csv"))
    assert (ran.code, ran.left) == (None, [])
    own.freeze()
    impatient = connect(own.host, timeout_s=1)
    with pytest.raises(requests.ReadTimeout):
        impatient.api.containers()
    impatient.close()
    own.thaw()
    record.worked()


def _run_in(pool: ThreadPoolExecutor, arena: Arena, workspace: Path) -> Future[Contained]:
    """The job, running: its container has started."""
    running = pool.submit(arena.run, LONG, workspace=workspace)
    job_id = job_id_of(workspace)

    def started() -> bool:
        return any(row["State"] == "running" for row in containers_of(arena.engine, job_id))

    assert eventually(started, within_s=60), running.done() and running.result()
    return running


def inspect_of(workspace: Path) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads((workspace / "logs" / "inspect.json").read_bytes())
    return kept


def _result(workspace: Path) -> bytes:
    path = workspace / "output" / "result.json"
    return path.read_bytes() if path.exists() else b""
