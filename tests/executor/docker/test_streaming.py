"""The transport stream on Docker: an engine that sees nothing of ours runs jobs all the same."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from autoscorer.confine import properties
from autoscorer.executor.base import AttemptPlan, RunOutcome, StopReason
from autoscorer.executor.docker.client import connect
from autoscorer.executor.docker.mounting import sees_files
from autoscorer.executor.docker.sidecar import sidecar_body, sidecar_name, volume_name
from autoscorer.executor.docker_executor import DockerExecutor
from autoscorer.executor.failures import verdict
from autoscorer.executor.nodes.pool import is_nodes_fault
from autoscorer.harvest import HarvestPolicy
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError
from tests.attacks.streamed import ATTACKS, check_contained
from tests.executor.attempts import limits
from tests.executor.docker.containers import (
    BUSYBOX,
    MIB,
    assert_nothing_left,
    container_plan,
    containers_of,
    docker,
    settings,
    volumes_of,
)
from tests.executor.docker.far_engines import SIDECAR, far_engine, left_on
from tests.executor.docker.own_engine import OwnEngine
from tests.executor.docker.test_confinement import GOLDEN, PRINT_CONFINEMENT, confinement
from tests.executor.docker.test_options import image
from tests.executor.docker.test_tls import certificates, ours

__all__ = ["certificates", "ours"]
pytestmark = [pytest.mark.docker, pytest.mark.slow]
ROOTLESS = pytest.mark.skipif(os.geteuid() != 0, reason="an engine of one's own takes root")
STREAM: dict[str, Any] = {"docker_transport": "stream", **SIDECAR}


@dataclass
class Streamed:
    plan: AttemptPlan
    outcome: RunOutcome
    error: AutoscorerError | None
    output: Path
    events: dict[str, Mapping[str, Any]]

    @property
    def log(self) -> str:
        return (self.plan.logs_dir / "container.log").read_text()


def run(plan: AttemptPlan, used: Settings, stop: Callable[[], StopReason | None] = lambda: None) -> Streamed:
    """Run it and harvest it; fail if anything of it or a descriptor is left."""
    root = plan.spec_path.parent
    executor, events, target = DockerExecutor(used), {}, root / "harvested"
    fds = os.listdir("/proc/self/fd")
    failure: list[AutoscorerError] = []

    def collect(_folder: Path, outcome: RunOutcome) -> None:
        try:
            if (error := verdict(outcome, plan.limits)) is not None:
                raise error
            executor.take_output(plan, target, HarvestPolicy(max_bytes=plan.limits.output_bytes))
        except AutoscorerError as exc:
            failure.append(exc)

    outcome = executor.run(
        plan, stop=stop, on_event=lambda name, facts: events.update({name: facts}), collect=collect
    )
    assert_nothing_left(root)
    assert os.listdir("/proc/self/fd") == fds
    return Streamed(plan, outcome, failure[0] if failure else None, target, events)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[OwnEngine]:
    with far_engine(tmp_path) as made:
        yield made


def test_what_goes_in_and_out_is_what_a_shared_path_gives(tmp_path: Path) -> None:
    plan = container_plan(tmp_path, "cp -rL input output/copy; cp meta.json output/; echo out; echo err >&2")
    (plan.input_dir / "deep" / "er").mkdir(parents=True)
    (plan.input_dir / "deep" / "er" / "ünï code").write_bytes(bytes(range(256)) * 5000)
    (plan.input_dir / "link").symlink_to("data.csv")
    ran = run(plan, settings(tmp_path, **STREAM))
    assert ran.error is None
    assert (ran.output / "copy" / "deep" / "er" / "ünï code").read_bytes() == bytes(range(256)) * 5000
    assert (ran.output / "copy" / "link").read_text() == "id\n1\n"
    assert (ran.output / "meta.json").read_text() == plan.spec_path.read_text()
    assert sorted(ran.log.split()) == ["err", "out"]
    assert ran.events["execution_started"]["transport"] == "stream"


def test_the_input_and_the_specification_cannot_be_written(tmp_path: Path) -> None:
    script = "touch input/x meta.json input/data.csv /workspace/y && exit 1; mkdir /workspace/z || exit 0"
    plan = container_plan(tmp_path, script)
    assert run(plan, settings(tmp_path, **STREAM)).error is None


def test_a_streamed_container_is_confined_as_the_golden_file_says(tmp_path: Path) -> None:
    plan = container_plan(
        tmp_path, PRINT_CONFINEMENT, cpu_cores=1.5, memory_bytes=128 * MIB, shm_bytes=8 * MIB, processes=100
    )
    ran = run(plan, settings(tmp_path, **STREAM))
    assert ran.error is None, ran.log
    # The truth is looked for as well: nothing called so is anywhere in the container.
    # Its output is a folder of the engine's disk, as without root on a shared path, and the result says so.
    assert confinement(ran.log) == json.loads(GOLDEN.read_text()) | {"mount /workspace/output": "rw"}
    assert properties.OUTPUT in ran.outcome.isolation.enforced
    assert properties.DISK in ran.outcome.isolation.not_enforced


def test_the_sidecar_is_confined_as_a_job_is_and_sees_the_volume_alone() -> None:
    body = sidecar_body(image(), limits(), name="autoscorer-1", labels={}, user="1:1", security_opts=())
    host = body["HostConfig"]
    assert [mount["Target"] for mount in host["Mounts"]] == ["/autoscorer"]
    assert host["Mounts"][0]["Source"] == volume_name("autoscorer-1")
    assert (host["CapAdd"], host["CapDrop"], host["ReadonlyRootfs"]) == ([], ["ALL"], True)
    assert (host["NetworkMode"], body["NetworkDisabled"], body["User"]) == ("none", True, "1:1")
    assert host["PidsLimit"] == 64


@ROOTLESS
def test_an_engine_that_does_not_see_the_workspace_gets_it_streamed_by_itself(
    far: OwnEngine, tmp_path: Path
) -> None:
    plan = container_plan(tmp_path, "cp input/data.csv output/")
    ran = run(plan, settings(tmp_path, docker_host=far.address, **SIDECAR))
    assert ran.error is None
    assert (ran.output / "data.csv").read_text() == "id\n1\n"
    assert ran.events["execution_started"]["transport"] == "stream"
    assert left_on(far) == []


@ROOTLESS
@pytest.mark.parametrize("transport", ["auto", "bind"])
def test_so_does_one_that_sees_the_workspace_and_not_the_shared_input(tmp_path: Path, transport: str) -> None:
    """Control: where it must be mounted, that is told before anything of the job goes there."""
    plan = container_plan(tmp_path, "cp input/data.csv output/")
    shared = tmp_path / "shared"
    shared.mkdir()
    plan = replace(plan, input_dir=plan.input_dir.rename(shared / "input"))
    with far_engine(shared) as engine:
        used = settings(tmp_path, docker_host=engine.address, docker_transport=transport, **SIDECAR)
        if transport == "auto":
            ran = run(plan, used)
            assert ran.error is None
            assert (ran.output / "data.csv").read_text() == "id\n1\n"
            assert ran.events["execution_started"]["transport"] == "stream"
        else:
            with pytest.raises(AutoscorerError, match="or that of its input"):
                run(plan, used)
        assert left_on(engine) == []


@ROOTLESS
def test_data_are_streamed_by_tls_too(certificates: Path, ours: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    plan = container_plan(root, "cp input/big output/")
    (plan.input_dir / "big").write_bytes(os.urandom(3 * MIB))
    with far_engine(root, certificates=certificates) as engine:
        used = settings(
            root, docker_host=engine.address, docker_tls_verify=True, docker_cert_path=ours, **SIDECAR
        )
        ran = run(plan, used)
        assert left_on(engine) == []
    assert ran.error is None
    assert (ran.output / "big").read_bytes() == (plan.input_dir / "big").read_bytes()


@ROOTLESS
def test_control_there_a_mount_cannot_work_and_near_by_auto_mounts(far: OwnEngine, tmp_path: Path) -> None:
    plan = container_plan(tmp_path, "cp input/data.csv output/")
    with pytest.raises(AutoscorerError, match="does not see the workspace") as caught:
        run(plan, settings(tmp_path, docker_host=far.address, docker_transport="bind", **SIDECAR))
    assert caught.value.details["setting"] == "DOCKER_TRANSPORT"
    assert left_on(far) == []
    assert run(plan, settings(tmp_path, **SIDECAR)).events["execution_started"]["transport"] == "bind"


@ROOTLESS
def test_an_engine_is_asked_for_our_files_without_making_anything_there(
    far: OwnEngine, tmp_path: Path
) -> None:
    near, there = settings(tmp_path), settings(tmp_path, docker_host=far.address)
    below = tmp_path / "attempt"
    with connect(near) as engine:
        assert sees_files(engine, below)
    with connect(there) as engine:
        assert not sees_files(engine, below)
        far.stop(signal.SIGKILL)
        with pytest.raises(AutoscorerError):
            sees_files(engine, below)
    assert str(below) not in docker("ps", "-a", "--no-trunc", "--format", "{{.Mounts}}")
    assert list(below.iterdir()) == []


@ROOTLESS
def test_an_engine_that_must_mount_and_cannot_is_known_before_anything_is_made(
    far: OwnEngine, tmp_path: Path
) -> None:
    plan = container_plan(tmp_path, "true")
    executor = DockerExecutor(settings(tmp_path, docker_host=far.address, docker_transport="bind"))
    with pytest.raises(AutoscorerError, match="Share both there at the same paths") as caught:
        executor.prepare(plan, stop=lambda: None, on_event=lambda *_row: None)
    assert is_nodes_fault(caught.value)
    assert left_on(far) == []
    assert_nothing_left(tmp_path)


def test_without_the_sidecars_image_the_operator_is_told(tmp_path: Path) -> None:
    plan = container_plan(tmp_path, "true")
    used = settings(
        tmp_path,
        docker_transport="stream",
        docker_helper_image="autoscorer-test/absent:1",
        image_pull_policy="never",
    )
    with pytest.raises(AutoscorerError) as caught:
        run(plan, used)
    assert caught.value.code == "RESOURCE_UNAVAILABLE"
    assert caught.value.details["setting"] == "DOCKER_HELPER_IMAGE"
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("reason", "code"), [(StopReason.CANCELLED, "CANCELLED"), (StopReason.WORKER_STOPPED, "WORKER_STOPPED")]
)
def test_a_job_can_be_stopped_while_its_data_are_brought_in(
    tmp_path: Path, reason: StopReason, code: str
) -> None:
    plan = container_plan(tmp_path, "true")
    (plan.input_dir / "big").write_bytes(bytes(2**22))
    # Asked while the image is found too; the first time the sidecar is there, it is to stop.
    with pytest.raises(AutoscorerError) as caught:
        run(plan, settings(tmp_path, **STREAM), stop=lambda: reason if volumes_of(tmp_path) else None)
    assert caught.value.code == code
    assert_nothing_left(tmp_path)


def test_a_sidecar_that_somebody_removes_is_no_fault_of_the_program(tmp_path: Path) -> None:
    plan = container_plan(tmp_path, "echo x > output/x; sleep 2")

    def names() -> list[str]:
        mine = f"label=autoscorer.folder={plan.attempt_dir}"  # others stream on this engine too
        return docker("ps", "--format", "{{.Names}}", "--filter", mine).split()

    def stop() -> StopReason | None:
        if len(both := names()) == 2:
            (sidecar,) = (name for name in both if name.endswith(sidecar_name("")))
            docker("rm", "-f", sidecar)
        return None

    ran = run(plan, settings(tmp_path, **STREAM), stop=stop)
    assert ran.error is not None
    assert (ran.error.code, ran.error.blame) == ("CONTAINER_WAIT_FAILED", "platform")


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_on_output_disk_or_log_gets_its_code_and_does_no_harm(tmp_path: Path, name: str) -> None:
    given = {"DOCKER_TRANSPORT": "stream", "DOCKER_HELPER_IMAGE": BUSYBOX}
    workspace = check_contained(name, tmp_path, given, backend="docker")
    assert [*containers_of(workspace), *volumes_of(workspace)] == []


def test_a_node_without_the_sidecars_image_is_known_before_anything_of_the_job_goes_there(
    tmp_path: Path,
) -> None:
    absent = {"docker_helper_image": "autoscorer-test/absent:1", "image_pull_policy": "never"}
    plan = container_plan(tmp_path, "true")
    executor = DockerExecutor(settings(tmp_path, docker_transport="stream", **absent))
    with pytest.raises(AutoscorerError) as caught:
        executor.prepare(plan, stop=lambda: None, on_event=lambda *_row: None)
    assert is_nodes_fault(caught.value)
    assert_nothing_left(tmp_path)
