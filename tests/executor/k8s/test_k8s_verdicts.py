"""Rows of the table of verdicts, each produced by a real kubelet; `produced.py` says which are not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoscorer.executor import k8s_executor
from autoscorer.executor.base import Limits
from autoscorer.executor.k8s import manifest
from autoscorer.executor.k8s.client import connect
from autoscorer.executor.k8s.commands import RemoteCommand
from autoscorer.executor.k8s.naming import SIDECAR
from autoscorer.utils.errors import AutoscorerError
from tests.executor.docker.registries import front
from tests.executor.k8s.pods import needs_this_machine_as_node, pod_plan, run_pod, settings
from tests.executor.k8s.produced import Judged

pytestmark = [pytest.mark.k8s, pytest.mark.slow]
CLUSTER = Path(__file__).resolve().parents[3] / "scripts" / "k8s-cluster"
MIB = 2**20
OWN_STORAGE = "evicted: its own volumes, log or output beyond its limit"


def sidecar_that_never_looks(_limits: Limits) -> str:
    return "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"


@pytest.mark.long
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("head -c 30000000 /dev/zero > output/big; sleep 200", "Usage of EmptyDir volume"),
        ("yes | head -c 60000000; sleep 200", "ephemeral"),
    ],
    ids=["output", "log"],
)
def test_a_pod_evicted_for_its_own_storage_wrote_too_much(
    tmp_path: Path, judged: Judged, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    """The kubelet looks every ten seconds; our sidecar, which would be first, is told not to."""
    monkeypatch.setattr(manifest, "watch_script", sidecar_that_never_looks)
    monkeypatch.setattr(manifest, "LOG_ROOM_BYTES", 10 * MIB)
    ran = run_pod(pod_plan(tmp_path, script, time_limit_s=180))
    assert judged.last == OWN_STORAGE
    assert said in ran.outcome.details["cluster"]
    assert ran.error is not None
    assert (ran.code, ran.error.blame) == ("OUTPUT_LIMIT", "participant")


def test_the_pods_own_deadline_is_the_programs_when_it_runs(
    tmp_path: Path, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "COLLECT_S", -950)  # after 900 s to start and 60 s to run: 10 s
    ran = run_pod(pod_plan(tmp_path, "sleep 200"))
    assert judged.last == "past the deadline of its pod, the program running"
    assert ran.code == "TIME_LIMIT"


def test_the_pods_own_deadline_is_the_operators_when_the_program_never_started(
    tmp_path: Path, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "COLLECT_S", -950)
    with pytest.raises(AutoscorerError) as caught:
        run_pod(pod_plan(tmp_path, "true", image="127.0.0.1:9/absent:1"), image_pull_policy="always")
    assert judged.last == "past the deadline of its pod, the program never started"
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", "operator")


def test_a_sidecar_that_the_program_brought_down_is_the_programs(tmp_path: Path, judged: Judged) -> None:
    def bring_down(name: str, facts: Mapping[str, Any]) -> None:
        if name == "execution_started":
            with (
                connect(settings(tmp_path)) as cluster,
                RemoteCommand(cluster, facts["pod"], SIDECAR, ["sh", "-c", "kill 1"]) as command,
            ):
                command.exit_code()

    with pytest.raises(AutoscorerError) as caught:
        run_pod(pod_plan(tmp_path, "sleep 200"), on_event=bring_down)
    assert judged.last == "the sidecar ended while the program ran"
    assert (caught.value.code, caught.value.blame) == ("OUTPUT_INVALID", "participant")


@pytest.mark.long
def test_a_sidecar_without_an_image_is_the_operators(tmp_path: Path, judged: Judged) -> None:
    with pytest.raises(AutoscorerError) as caught:
        run_pod(pod_plan(tmp_path, "true"), k8s_helper_image="127.0.0.1:9/absent:1")
    assert judged.last == "the sidecar's image cannot be had"
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", "operator")


def test_an_image_name_that_only_the_node_finds_wrong(
    tmp_path: Path, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(k8s_executor, "image_name", lambda _text: _Name("NOT A NAME"))
    monkeypatch.setattr(k8s_executor, "check_allowed", lambda *_: None)
    with pytest.raises(AutoscorerError) as caught:
        run_pod(pod_plan(tmp_path, "true"))
    assert judged.last == "InvalidImageName"
    assert (caught.value.code, caught.value.blame) == ("IMAGE_INVALID", "participant")


class _Name(SimpleNamespace):
    def __init__(self, text: str) -> None:
        super().__init__(text=text)

    def __str__(self) -> str:
        return str(self.text)


def test_an_image_that_no_container_can_be_made_of(tmp_path: Path, judged: Judged) -> None:
    needs_this_machine_as_node()
    image = "autoscorer-test/no-command:1"
    archive = subprocess.run(["tar", "-c", "-C", "/etc", "hostname"], capture_output=True, check=True).stdout
    subprocess.run([CLUSTER, "docker", "import", "-", image], input=archive, check=True, capture_output=True)
    plan = pod_plan(tmp_path, "", image=image)
    with pytest.raises(AutoscorerError) as caught:
        run_pod(type(plan)(**{**plan.__dict__, "command": ()}))
    assert judged.last == "the runtime cannot make the container from this image (the sidecar's it could)"
    assert (caught.value.code, caught.value.blame) == ("IMAGE_INVALID", "participant")


LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
FOREIGN = {
    "schemaVersion": 2,
    "mediaType": LIST,
    "manifests": [
        {
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "digest": f"sha256:{'a' * 64}",
            "size": 7,
            "platform": {"architecture": "s390x", "os": "linux"},
        }
    ],
}


def _error(code: str) -> dict[str, Any]:
    return {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}


@pytest.mark.parametrize(
    ("status", "body", "row", "code"),
    [
        (404, _error("MANIFEST_UNKNOWN"), "no such image, or no access to it", "denied"),
        (401, _error("UNAUTHORIZED"), "no such image, or no access to it", "denied"),
        (200, FOREIGN, "an image for another platform, or none at all", "IMAGE_INVALID"),
        pytest.param(
            503,
            _error("X"),
            "the registry unwell, out of reach or busy, the node's disk full",
            "network",
            marks=pytest.mark.long,
        ),
        pytest.param(418, _error("X"), "and nobody says why", "network", marks=pytest.mark.long),
    ],
)
def test_what_a_registry_answers_decides_whose_fault_it_is(
    tmp_path: Path, judged: Judged, status: int, body: dict[str, Any], row: str, code: str
) -> None:
    needs_this_machine_as_node()
    told, kind = json.dumps(body).encode(), LIST if status == 200 else "application/json"
    with (
        front(None, status=status, failures=1000, body=told, media_type=kind) as server,
        pytest.raises(AutoscorerError) as caught,
    ):
        run_pod(pod_plan(tmp_path, "true", image=f"{server.host}/x:1"), image_pull_policy="always")
    assert {f"pulling failed: {row}", f"pulling failed {row}"} & set(judged.rows)
    assert (caught.value.cause or caught.value.code) == code
    assert caught.value.blame == ("platform" if code == "network" else "participant")
