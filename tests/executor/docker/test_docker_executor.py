"""The workspace contract in a container: what it sees, how it ends, whose fault it was, what is told."""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from autoscorer.executor import docker_executor
from autoscorer.executor.base import RunOutcome, StopReason
from autoscorer.executor.docker import client, options, output_cap
from autoscorer.executor.docker.client import Engine, connect
from autoscorer.executor.docker.containers import Container, StartRefused
from autoscorer.executor.docker.presence import free_gpus, with_gpus_alone
from autoscorer.executor.docker_executor import DockerExecutor
from autoscorer.executor.failures import verdict
from autoscorer.utils.errors import AutoscorerError
from tests.executor.docker.containers import (
    BUSYBOX,
    MIB,
    assert_nothing_left,
    container_plan,
    containers_of,
    docker,
    run_container,
    settings,
)

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def test_a_program_reads_its_input_and_writes_its_output(tmp_path: Path) -> None:
    ran = run_container(container_plan(tmp_path, "cat input/data.csv meta.json > output/pred.csv"))
    assert ran.code is None
    assert ran.text("pred.csv") == "id\n1\n{}"
    assert ran.log == b""


def test_what_it_prints_is_in_the_log_and_stderr_in_the_outcome(tmp_path: Path) -> None:
    ran = run_container(container_plan(tmp_path, "echo to stdout; printf 'to \\033stderr\\0' >&2; exit 3"))
    assert b"to stdout\n" in ran.log
    assert b"to \x1bstderr\0" in ran.log
    assert ran.outcome.stderr_tail == "to \\x1bstderr\\x00"
    assert (ran.code, ran.outcome.exit_code) == ("CONTAINER_EXIT_NONZERO", 3)


def test_what_it_used_is_measured(tmp_path: Path) -> None:
    script = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
    outcome = run_container(container_plan(tmp_path, script)).outcome
    assert outcome.peak_memory_bytes is not None
    assert 30_000_000 <= outcome.peak_memory_bytes < 256 * MIB
    assert outcome.cpu_seconds is not None
    assert 0.1 <= outcome.cpu_seconds <= 2 * outcome.duration_s + 0.1


def test_the_outcome_says_what_ran_and_behind_which_walls(tmp_path: Path) -> None:
    plan = container_plan(tmp_path, "true")
    ran = run_container(plan)
    image_id = docker("image", "inspect", "-f", "{{.Id}}", plan.image)
    assert ran.outcome.details["image_id"] == ran.outcome.details["image_digest"] == image_id
    assert ran.outcome.details["engine_version"] == docker("version", "-f", "{{.Server.Version}}")
    assert ran.outcome.isolation.backend == "docker"
    assert "no network" in ran.outcome.isolation.enforced
    name, info = ran.events[-1]
    assert name == "execution_started"
    assert info["image_id"] == image_id


def test_its_environment_is_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_TOKEN", "secret")
    ran = run_container(container_plan(tmp_path, "env", env={"ASKED": "for = this\nand that"}))
    assert b"ASKED=for = this\nand that" in ran.log
    assert b"secret" not in ran.log


@pytest.mark.parametrize(
    ("script", "code", "exit_code", "oom"),
    [
        ("exit 42", "CONTAINER_EXIT_NONZERO", 42, 0),
        ("exec no-such-program", "CONTAINER_EXIT_NONZERO", 127, 0),
        ("exec /workspace/meta.json", "CONTAINER_EXIT_NONZERO", 126, 0),
        ("kill -SEGV $$", "CONTAINER_EXIT_NONZERO", 139, 0),
        ("kill -KILL $$", "CONTAINER_EXIT_NONZERO", 137, 0),
        ("exec tail /dev/zero", "MEMORY_LIMIT", 137, 1),
        ("tail /dev/zero; exit 0", None, 0, 1),
    ],
)
def test_an_end_has_its_code(tmp_path: Path, script: str, code: str | None, exit_code: int, oom: int) -> None:
    ran = run_container(container_plan(tmp_path, script, memory_bytes=32 * MIB))
    assert (ran.code, ran.outcome.exit_code) == (code, exit_code)
    assert (ran.outcome.details["oom_kills"] > 0) == (oom > 0)


def test_a_program_that_ignores_being_asked_is_gone_soon_after_its_deadline(tmp_path: Path) -> None:
    started = time.monotonic()
    ran = run_container(container_plan(tmp_path, "trap '' TERM; while :; do :; done", time_limit_s=1))
    assert ran.code == "TIME_LIMIT"
    assert ran.outcome.duration_s < 20
    assert time.monotonic() - started < 30


def test_a_program_that_is_stopped_may_say_goodbye(tmp_path: Path) -> None:
    script = "trap 'echo > output/goodbye; exit 0' TERM; while :; do read -t 1 x < /dev/zero; done"
    ran = run_container(container_plan(tmp_path, script, time_limit_s=1))
    assert ran.code == "TIME_LIMIT"
    assert ran.text("goodbye") == "\n"


def test_cancel_is_heard_soon_and_is_nobodys_fault(tmp_path: Path) -> None:
    plan = container_plan(tmp_path, "echo > output/up; exec tail -f /dev/null")

    def cancel() -> StopReason | None:
        return StopReason.CANCELLED if list(plan.out_dir.glob("*/up")) else None

    ran = run_container(plan, stop=cancel)
    assert (ran.code, ran.error and ran.error.blame) == ("CANCELLED", "nobody")


def test_an_error_of_the_stop_signal_leaves_nothing_running(tmp_path: Path) -> None:
    class LeaseLostError(Exception):
        pass

    def stop() -> StopReason | None:
        if containers_of(tmp_path):
            raise LeaseLostError
        return None

    with pytest.raises(LeaseLostError):
        run_container(container_plan(tmp_path, "exec tail -f /dev/null"), stop=stop)
    assert_nothing_left(tmp_path)


def test_an_interrupt_while_it_is_collected_leaves_nothing(tmp_path: Path) -> None:
    def collect(_folder: Path, _outcome: RunOutcome) -> None:
        raise KeyboardInterrupt

    executor = DockerExecutor(settings(tmp_path))
    plan = container_plan(tmp_path, "true")
    with pytest.raises(KeyboardInterrupt):
        executor.run(plan, stop=lambda: None, on_event=lambda *_: None, collect=collect)
    assert_nothing_left(tmp_path)


def test_the_container_is_gone_when_its_output_is_collected(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def collect(_folder: Path, _outcome: RunOutcome) -> None:
        seen.append(containers_of(tmp_path))

    executor = DockerExecutor(settings(tmp_path))
    executor.run(
        container_plan(tmp_path, "true"), stop=lambda: None, on_event=lambda *_: None, collect=collect
    )
    assert seen == [[]]


def test_a_flood_of_output_is_kept_as_head_and_tail_in_flat_memory(tmp_path: Path) -> None:
    script = "echo first; head -c 200000000 /dev/zero; echo; echo last"
    plan = container_plan(tmp_path, script, time_limit_s=60)
    tracemalloc.start()
    ran = run_container(plan)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ran.code is None
    assert ran.log.startswith(b"first\n")
    assert ran.log.endswith(b"last\n")
    assert len(ran.log) <= plan.limits.log_bytes
    assert ran.outcome.log_bytes_dropped > 190_000_000
    assert peak < 16 * MIB


def test_a_program_that_closes_its_output_is_waited_for(tmp_path: Path) -> None:
    script = "exec 1>&- 2>&-; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; : > output/done"
    ran = run_container(container_plan(tmp_path, script))
    assert ran.code is None
    assert (ran.output / "done").exists()


def test_a_daemon_does_not_outlive_its_program(tmp_path: Path) -> None:
    ran = run_container(container_plan(tmp_path, "(tail -f /dev/null &) ; exit 0"))
    assert ran.code is None
    assert ran.outcome.duration_s < 5


def test_a_full_disk_is_the_programs_own_fault(tmp_path: Path) -> None:
    ran = run_container(container_plan(tmp_path, "exec dd if=/dev/zero of=output/fill bs=64k"))
    assert ran.code == "OUTPUT_LIMIT"
    assert "No space left on device" in ran.outcome.stderr_tail


def test_a_program_that_meets_a_full_disk_and_manages_has_no_fault(tmp_path: Path) -> None:
    ran = run_container(
        container_plan(tmp_path, "dd if=/dev/zero of=output/fill bs=64k; rm output/fill; exit 0")
    )
    assert ran.code is None


def test_without_a_file_system_of_its_own_the_output_is_polled_and_the_result_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot_mount(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(output_cap, "_mount", cannot_mount)
    script = "while :; do head -c 1000000 /dev/zero >> output/fill; done"
    ran = run_container(container_plan(tmp_path, script, time_limit_s=30))
    assert ran.code == "OUTPUT_LIMIT"
    assert "output limit (polled)" in ran.outcome.isolation.enforced
    assert "disk quota" in ran.outcome.isolation.not_enforced


@pytest.mark.skipif(os.geteuid() != 0, reason="as another user than root the container's user is ours")
def test_input_that_the_containers_user_cannot_read_is_named(tmp_path: Path) -> None:
    plan = container_plan(tmp_path, "true")
    (plan.input_dir / "deep").mkdir()
    (plan.input_dir / "deep" / "secret.csv").write_text("x")
    (plan.input_dir / "deep" / "secret.csv").chmod(0o600)
    with pytest.raises(AutoscorerError) as caught:
        run_container(plan)
    assert (caught.value.code, caught.value.cause) == ("CONFIG_VALIDATION_ERROR", "workspace")
    assert "input/deep/secret.csv" in caught.value.message
    assert "chmod -R o+rX input" in caught.value.message


def test_a_job_for_gpus_needs_an_engine_that_has_them(tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError) as caught:
        run_container(container_plan(tmp_path, "true", gpus=1))
    assert caught.value.code == "RESOURCE_UNAVAILABLE"


@pytest.fixture
def rival() -> Iterator[str]:
    """A container of another worker's job that has the first GPU of this engine."""
    name = f"autoscorer-{secrets.token_hex(16)}"
    labels = {
        "autoscorer.owner": f"elsewhere:0:0/1/1/{name}",
        "autoscorer.name": name,
        "autoscorer.gpu-ids": "0",
    }
    options = [option for key, value in labels.items() for option in ("--label", f"{key}={value}")]
    docker("create", "--name", name, *options, BUSYBOX, "true")
    yield name
    docker("rm", "-f", name)


@pytest.mark.usefixtures("rival")
@pytest.mark.parametrize(("declared", "code"), [(1, "RESOURCE_UNAVAILABLE"), (64, "EXEC_ERROR")])
def test_a_job_on_a_node_never_starts_with_a_gpu_that_another_has(
    tmp_path: Path, declared: int, code: str
) -> None:
    """This engine has no GPU: one that is free is found out by the start, which the engine refuses."""
    executor = DockerExecutor(settings(tmp_path), declared_gpus=declared)
    with pytest.raises(AutoscorerError) as caught:
        run_container(container_plan(tmp_path, "true", gpus=1), executor=executor)
    assert (caught.value.code, caught.value.cause == "nodes") == (code, declared == 1)
    assert_nothing_left(tmp_path)


@pytest.mark.usefixtures("rival")
@pytest.mark.parametrize(("present", "choices"), [(2, ["0", "1"]), (1, ["0"])])
def test_two_jobs_on_one_engine_get_the_same_gpu_only_when_there_are_too_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: int, choices: list[str]
) -> None:
    """The job has looked before its rival was made, and so has chosen the same."""
    chosen: list[str] = []

    def choose(engine: Engine, *, asked: int, present: int) -> tuple[str, ...]:
        chosen.extend(free_gpus(engine, asked=asked, present=present) if chosen else ("0",))
        return (chosen[-1],)

    monkeypatch.setattr(docker_executor, "free_gpus", choose)
    monkeypatch.setattr(client, "_count_gpus", lambda _info, *, local: present)
    with pytest.raises(AutoscorerError) as caught:  # it has no GPU in truth, so the start is refused
        run_container(container_plan(tmp_path, "true", gpus=1))
    assert caught.value.code == "EXEC_ERROR"
    assert chosen == choices


def chosen_at_once(root: Path, *, guarded: bool, may_share: bool = False) -> list[str]:
    """The GPUs of four containers whose workers all looked before any of them was made."""
    names = [f"autoscorer-{secrets.token_hex(16)}" for _ in range(4)]
    meet = threading.Barrier(len(names))

    def choose(name: str) -> str:
        made: list[str] = []

        def create() -> Container:
            (number,) = free_gpus(engine, asked=1, present=64)
            if not made:
                meet.wait(60)
            made.append(number)
            labels = {"autoscorer.owner": "-", "autoscorer.name": name, "autoscorer.gpu-ids": number}
            body = {
                "Image": BUSYBOX,
                "Cmd": ["true"],
                "Labels": labels,
                "HostConfig": {"NetworkMode": "none"},
            }
            created = engine.api.create_container_from_config(body, name)
            return Container(engine, created["Id"], (), init=False)

        with connect(settings(root)) as engine:
            if guarded:
                with_gpus_alone(engine, name, create, present=64, may_share=may_share)
            else:
                create()
            return made[-1]

    try:
        with ThreadPoolExecutor(len(names)) as threads:
            return list(threads.map(choose, names))
    finally:
        docker("rm", "-f", *names, check=False)


@pytest.mark.parametrize("may_share", [False, True], ids=["node", "engine"])
def test_of_jobs_that_choose_at_once_no_two_get_one_gpu(tmp_path: Path, *, may_share: bool) -> None:
    assert len(set(chosen_at_once(tmp_path, guarded=True, may_share=may_share))) == 4


def test_control_without_giving_way_some_get_the_same(tmp_path: Path) -> None:
    assert len(set(chosen_at_once(tmp_path, guarded=False))) < 4


def test_a_network_that_is_not_there_is_the_operators(tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError) as caught:
        run_container(container_plan(tmp_path, "true", network="autoscorer-test-absent"))
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", "operator")


def test_a_command_too_long_to_execute_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    plan = replace(container_plan(tmp_path, "true"), command=("echo", "x" * 200_000))
    with pytest.raises(AutoscorerError) as caught:
        run_container(plan)
    assert caught.value.code == "CONFIG_VALIDATION_ERROR"


def test_an_engine_that_refuses_the_container_is_named(tmp_path: Path) -> None:
    opts = ("no-such-option=1",)
    with pytest.raises(AutoscorerError) as caught:
        run_container(container_plan(tmp_path, "true"), security_opts=opts)
    assert (caught.value.code, caught.value.blame) == ("CONTAINER_CREATE_FAILED", "platform")
    assert_nothing_left(tmp_path)


def test_a_start_that_fails_after_the_create_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "OPEN_FILES", 2**30)  # more than any kernel gives
    with pytest.raises(AutoscorerError) as caught:
        run_container(container_plan(tmp_path, "true"))
    assert (caught.value.code, caught.value.blame) == ("EXEC_ERROR", "platform")
    assert "rlimit" in caught.value.details["engine"]
    assert_nothing_left(tmp_path)


def test_an_engine_without_docker_init_runs_it_all_the_same_and_the_result_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Container.start

    def start_without_init(container: Container) -> StartRefused | None:
        if container.init:
            raise LookupError
        return start(container)

    monkeypatch.setattr(Container, "start", start_without_init)
    ran = run_container(container_plan(tmp_path, "cat /proc/1/comm; exit 3"))
    assert ran.log == b"sh\n"
    assert ran.outcome.exit_code == 3
    assert "zombies are reaped (init)" in ran.outcome.isolation.not_enforced


@pytest.mark.parametrize(("command", "exit_code"), [("no-such-program", 127), ("/etc", 126)])
def test_without_docker_init_a_wrong_command_is_the_programs_own_fault_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, exit_code: int
) -> None:
    create = Container.create.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(
        Container, "create", classmethod(lambda cls, engine, plan, **_: create(cls, engine, plan, init=False))
    )
    ran = run_container(replace(container_plan(tmp_path, ""), command=(command,)))
    assert (ran.code, ran.outcome.exit_code) == ("CONTAINER_EXIT_NONZERO", exit_code)


def test_what_is_kept_of_a_failure_names_no_value_of_the_environment(tmp_path: Path) -> None:
    ran = run_container(container_plan(tmp_path, "exit 1", env={"TOKEN": "s3cret"}))
    inspected = json.dumps(ran.outcome.details["inspect"])
    assert '"ExitCode": 1' in inspected
    assert "s3cret" not in inspected
    assert str(tmp_path) not in inspected


def test_two_attempts_at_once_do_not_meet(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    inner = container_plan(other, "echo inner > output/x; cat output/x")
    nested: list[RunOutcome] = []

    def stop() -> StopReason | None:
        if not nested:
            nested.append(run_container(inner).outcome)
        return None

    ran = run_container(container_plan(one, "echo outer > output/x; ls output"), stop=stop)
    assert ran.text("x") == "outer\n"
    assert ran.log == b"x\n"
    assert verdict(nested[0], inner.limits) is None
