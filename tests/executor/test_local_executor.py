"""The workspace contract under the local backend, in both of its modes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from autoscorer.confine import spawn
from autoscorer.executor.base import StopReason
from autoscorer.executor.local_executor import IsolationMode, LocalExecutor
from autoscorer.utils.errors import AutoscorerError
from tests.executor.attempts import make_plan, python, run

MODES = [pytest.param("hardened", marks=pytest.mark.sandbox), "trusted"]
both = pytest.mark.parametrize("mode", MODES)


@both
def test_a_program_reads_its_input_and_writes_its_output(tmp_path: Path, mode: IsolationMode) -> None:
    source = "open('output/pred.csv', 'w').write(open('input/data.csv').read() + open('meta.json').read())"
    ran = run(make_plan(tmp_path, python(source)), mode)
    assert ran.code is None
    assert (ran.plan.out_dir / "pred.csv").read_text() == "id\n1\n{}"
    assert ran.log == b""


@both
def test_what_it_prints_is_in_the_log_and_stderr_in_the_outcome(tmp_path: Path, mode: IsolationMode) -> None:
    source = "import sys; print('to stdout'); print('to \\x1bstderr', file=sys.stderr); sys.exit(3)"
    ran = run(make_plan(tmp_path, python(source)), mode)
    assert b"to stdout\n" in ran.log
    assert b"to \x1bstderr\n" in ran.log
    assert ran.outcome.stderr_tail == "to \\x1bstderr"
    assert ran.code == "CONTAINER_EXIT_NONZERO"
    assert ran.outcome.exit_code == 3


@both
def test_what_it_used_is_measured(tmp_path: Path, mode: IsolationMode) -> None:
    source = """
import time
held = bytearray(b"x" * (64 * 2**20))
while time.process_time() < 0.4: pass
"""
    outcome = run(make_plan(tmp_path, python(source)), mode).outcome
    assert outcome.peak_memory_bytes is not None
    assert 64 * 2**20 < outcome.peak_memory_bytes < 256 * 2**20
    assert outcome.cpu_seconds is not None
    assert 0.4 <= outcome.cpu_seconds < 5
    assert outcome.duration_s >= 0.3


@both
def test_python_is_found_and_it_is_not_our_virtual_environments(tmp_path: Path, mode: IsolationMode) -> None:
    source = "import sys; print(sys.base_prefix, sys.prefix == sys.base_prefix, 'autoscorer' in sys.modules)"
    ran = run(make_plan(tmp_path, ("python3", "-c", source)), mode)
    assert ran.log.decode().split() == [sys.base_prefix, "True", "False"]


@both
def test_its_environment_is_clean(
    tmp_path: Path, mode: IsolationMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K8S_TOKEN", "secret")
    source = "import json, os; print(json.dumps(dict(os.environ)))"
    ran = run(make_plan(tmp_path, python(source), env={"ASKED": "for"}), mode)
    env = json.loads(ran.log)
    assert env["ASKED"] == "for"
    assert set(env) <= {
        *("PATH", "HOME", "LANG", "USER", "LOGNAME", "TMPDIR", "PWD", "OLDPWD", "LC_CTYPE"),
        *("ASKED", "ATTEMPT_TOKEN"),
    }


@both
def test_it_can_use_threads_processes_loopback_and_a_temporary_folder(
    tmp_path: Path, mode: IsolationMode
) -> None:
    source = """
import multiprocessing, socket, tempfile, threading
if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1, -2]) == [1, 2]
    threading.Thread(target=print).start()
    tempfile.TemporaryFile().write(b"x")
    server = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(server.getsockname()).close()
"""
    ran = run(make_plan(tmp_path, python(source), shm_bytes=2**24), mode)
    assert ran.outcome.stderr_tail == ""
    assert ran.code is None


@pytest.mark.parametrize(
    ("command", "exit_code", "said"),
    [
        (("no-such-program",), 127, "not found"),
        (("/workspace/meta.json",), 126, ""),
        (("sh", "-c", "exit 42"), 42, ""),
        (("sh", "-c", "kill -SEGV $$"), 139, ""),
    ],
)
@pytest.mark.sandbox
def test_a_command_fails_as_in_a_shell(
    tmp_path: Path, command: tuple[str, ...], exit_code: int, said: str
) -> None:
    ran = run(make_plan(tmp_path, command), "hardened")
    assert ran.code == "CONTAINER_EXIT_NONZERO"
    assert ran.outcome.exit_code == exit_code
    assert said in ran.outcome.stderr_tail


@both
def test_cancel_is_heard_soon_and_is_nobodys_fault(tmp_path: Path, mode: IsolationMode) -> None:
    plan = make_plan(tmp_path, python("open('output/up', 'w'); import time; time.sleep(60)"))

    def cancel() -> StopReason | None:
        return StopReason.CANCELLED if (plan.out_dir / "up").exists() else None

    ran = run(plan, mode, stop=cancel)
    assert ran.code == "CANCELLED"
    assert ran.outcome.duration_s < 5


@pytest.mark.slow
@both
def test_a_program_that_is_stopped_may_say_goodbye(tmp_path: Path, mode: IsolationMode) -> None:
    source = """
import signal, sys, time
def leave(*_): open("output/goodbye", "w"); sys.exit(0)
signal.signal(signal.SIGTERM, leave)
time.sleep(60)
"""
    ran = run(make_plan(tmp_path, python(source), time_limit_s=1), mode)
    assert ran.code == "TIME_LIMIT"
    assert (ran.plan.out_dir / "goodbye").exists()
    assert ran.outcome.duration_s < 1 + spawn.TERMINATE_GRACE_S


@both
def test_an_error_of_the_stop_signal_leaves_nothing_running(tmp_path: Path, mode: IsolationMode) -> None:
    class LeaseLostError(Exception):
        pass

    def stop() -> StopReason | None:
        raise LeaseLostError

    before = os.listdir("/proc/self/fd")
    plan = make_plan(tmp_path, python("import time; time.sleep(60)"))
    with pytest.raises(LeaseLostError):
        LocalExecutor(mode).run(plan, stop=stop, on_event=lambda *_: None)
    assert os.listdir("/proc/self/fd") == before


@both
def test_the_start_is_told_with_the_image_that_is_not_used(tmp_path: Path, mode: IsolationMode) -> None:
    ran = run(make_plan(tmp_path, ("true",)), mode)
    assert ran.events == [
        (
            "execution_started",
            {"backend": "local", "mode": mode, "image": "python:3.11-slim", "image_used": False},
        )
    ]
    assert ran.outcome.details["image_used"] is False


@pytest.mark.sandbox
def test_the_report_of_each_mode_says_what_is_not_enforced(tmp_path: Path) -> None:
    hardened = run(make_plan(tmp_path / "a", ("true",)), "hardened").outcome.isolation
    trusted = run(make_plan(tmp_path / "b", ("true",)), "trusted").outcome.isolation
    assert "no network" in hardened.enforced
    assert "no network" in trusted.not_enforced
    assert "a host user other than ours" in hardened.not_enforced
    assert {*hardened.enforced}.isdisjoint(hardened.not_enforced)


def test_a_job_that_asks_for_gpus_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError) as caught:
        run(make_plan(tmp_path, ("true",), gpus=1), "trusted")
    assert caught.value.code == "RESOURCE_UNAVAILABLE"


@pytest.mark.parametrize(
    "changes",
    [
        {"command": ()},
        {"command": ("echo", "a\0b")},
        {"command": ("echo", "x" * 200_000)},
        {"command": ("true",) * 2000},
        {"command": ("true",), "env": {"A=B": "c"}},
    ],
)
def test_a_command_that_cannot_be_run_is_the_specs_fault(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(AutoscorerError) as caught:
        run(make_plan(tmp_path, changes["command"], env=changes.get("env")), "trusted")
    assert (caught.value.code, caught.value.cause) == ("CONFIG_VALIDATION_ERROR", "job_spec")


def test_without_bubblewrap_nothing_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autoscorer.confine.bubblewrap import usable_bubblewrap

    monkeypatch.setenv("PATH", str(tmp_path))
    usable_bubblewrap.cache_clear()
    plan = make_plan(tmp_path, python("open('output/ran', 'w')"))
    with pytest.raises(AutoscorerError) as caught:
        run(plan, "hardened")
    usable_bubblewrap.cache_clear()
    assert caught.value.code == "RESOURCE_UNAVAILABLE"
    assert not (plan.out_dir / "ran").exists()


def test_the_attempts_folder_is_closed_to_other_users(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, ("true",))
    run(plan, "trusted")
    assert plan.attempt_dir.stat().st_mode & 0o777 == 0o700
