"""The prober finds every property held in real containers, and the attacks working in weakened ones."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from autoscorer.confine import properties
from autoscorer.confine.probes import Diagnosis
from autoscorer.executor.docker import containers
from autoscorer.executor.docker.client import connect
from autoscorer.executor.docker.isolation import FILESYSTEM, OUTPUT_FILE_SYSTEM
from autoscorer.executor.docker.options import create_body
from autoscorer.executor.docker.probes import (
    KERNEL,
    LABEL,
    REPOSITORY,
    DockerProber,
    diagnose_engine,
    engine_facts,
    probe_image,
)
from autoscorer.executor.docker.types import ContainerPlan
from autoscorer.executor.ownership import Owner
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError
from tests.executor.attempts import eventually
from tests.executor.docker.containers import docker, settings
from tests.executor.docker.engines import settings_with

CAPS = {"memory limit", "process limit", "cpu limit"}
INSIDE = {
    properties.NETWORK,
    FILESYSTEM,
    properties.READ_ONLY,
    properties.PROCESSES,
    properties.IPC,
    properties.CAPABILITIES,
    properties.USER_NAMESPACES,
    properties.SECCOMP,
    properties.NO_NEW_PRIVILEGES,
}
AROUND = {properties.CLEAN_ENVIRONMENT, properties.LOG, properties.WHOLE_TREE, properties.TIME}


def images_of_ours() -> list[str]:
    label = f"label={LABEL}={Owner.this_process()}"
    return docker("images", "-q", "--filter", label).split()


def diagnosed(root: Path, **changes: Any) -> Diagnosis:
    found = diagnose_engine(replace(settings(root), **changes))
    assert images_of_ours() == []
    journal = root / "data" / "attempts"
    assert not journal.exists() or list(journal.iterdir()) == []
    return found


def weakened(plan: ContainerPlan, *, init: bool = True) -> dict[str, Any]:
    """What the engine is asked for, without the guards; the program it runs is the prober's own."""
    body = create_body(plan, init=init)
    socket = {"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/var/run/docker.sock"}
    host = body["HostConfig"]
    host |= dict.fromkeys(("NetworkMode", "IpcMode", "UTSMode", "CgroupnsMode"), "host")
    if plan.command[-1].endswith("probe_program.py"):
        host["PidMode"] = "host"  # not where children are left behind: nothing would end those
    host |= {"CapDrop": [], "SecurityOpt": ["seccomp=unconfined"], "ReadonlyRootfs": False}
    host |= {"Memory": 0, "MemorySwap": 0, "MemorySwappiness": None, "PidsLimit": 0, "CpuQuota": 0}
    host |= {"Init": False, "Mounts": [*host["Mounts"], socket]}
    return body | {"User": "0:0", "Hostname": "", "NetworkDisabled": False}


@pytest.mark.docker
@pytest.mark.slow
def test_in_a_container_every_property_holds(tmp_path: Path) -> None:
    # The operator's rules for jobs' images are not about the doctor's.
    found = diagnosed(tmp_path, image_allowlist=(), image_pull_policy="always")
    by_name = {probe.name: probe for probe in found.probes}
    assert set(by_name) >= INSIDE | AROUND | CAPS
    assert {OUTPUT_FILE_SYSTEM, properties.OUTPUT} & set(by_name)
    assert found.failing == []
    assert KERNEL in found.never_enforced
    assert not set(found.never_enforced) & set(by_name)


@pytest.mark.docker
@pytest.mark.slow
def test_control_in_a_weakened_container_the_attacks_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "create_body", weakened)
    failing = set(diagnosed(tmp_path).failing)
    # Nothing but the machine holds it now, and a busy one leaves it less than its limit for a while.
    assert "cpu limit" in failing or eventually(
        lambda: "cpu limit" in diagnosed(tmp_path).failing, within_s=120
    )
    assert failing | {"cpu limit"} >= INSIDE | CAPS


@pytest.mark.docker
def test_a_program_that_cannot_be_started_is_no_property_that_holds(tmp_path: Path) -> None:
    class Lost(DockerProber):
        def __init__(self, settings: Settings, image: str) -> None:
            super().__init__(settings, image)
            self._python = "/nowhere/python"

    used = settings(tmp_path)
    with connect(used) as engine, probe_image(engine) as image, Lost(used, image) as prober:
        (only,) = prober.attack()
    assert not only.enforced
    assert "/nowhere" not in only.detail


@pytest.mark.docker
def test_the_image_of_a_killed_doctor_is_removed_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    me = Owner.this_process()
    with connect(settings(tmp_path)) as engine, probe_image(engine) as living:
        dead = f"LABEL {LABEL}={replace(me, started_ticks=me.started_ticks + 1)}"
        engine.api.import_image_from_data(b"\0" * 1024, repository=REPOSITORY, tag="dead", changes=[dead])
        with probe_image(engine):
            assert docker("images", "-q", f"{REPOSITORY}:dead") == ""
            assert docker("images", "-q", living) != ""
    assert images_of_ours() == []


def test_an_engine_on_another_machine_is_not_tried_and_that_is_said() -> None:
    with tcp_engine() as port:
        found = diagnose_engine(settings_with(DOCKER_HOST=f"tcp://127.0.0.1:{port}"))
    assert found.failing == ["container"]
    assert "not tried" in found.probes[0].detail
    assert found.engine["version"] == "29.0.0"
    assert found.engine["on_this_machine"] is False


def test_without_an_engine_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError, match="No Docker engine") as caught:
        diagnose_engine(settings_with(DOCKER_HOST=f"unix://{tmp_path}/none.sock"))
    assert caught.value.code == "RESOURCE_UNAVAILABLE"


def test_what_the_engine_says_of_its_isolation_is_told() -> None:
    options = ["name=seccomp,profile=builtin", "name=userns", "name=rootless", "name=cgroupns"]
    info = {
        "CgroupVersion": "2",
        "Driver": "overlay2",
        "LiveRestoreEnabled": True,
        "SecurityOptions": options,
    }
    version = {"Version": "29.0.0", "Components": [{"Name": "runc", "Version": "1.3.3"}]}
    told = engine_facts(version, info)
    assert (told["cgroup_version"], told["storage_driver"]) == ("2", "overlay2")
    assert told["user_namespace_remap"] is told["rootless"] is told["live_restore"] is True
    assert told["components"] == {"runc": "1.3.3"}
    bare = engine_facts({}, {})
    assert bare["user_namespace_remap"] is bare["rootless"] is bare["live_restore"] is False


@contextmanager
def tcp_engine() -> Iterator[int]:
    """What an engine says of itself, over TCP as from another machine."""
    answer = {"Version": "29.0.0", "ApiVersion": "1.41", "Components": []}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
