"""A volume for each job, and who goes with whom: on a real cluster, its provisioner a few lines of ours."""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from autoscorer.executor.k8s.belongings import ensure_claim
from autoscorer.executor.k8s.client import Cluster, RefusedError, connect
from autoscorer.executor.k8s.naming import job_name
from autoscorer.utils.errors import AutoscorerError
from tests.executor.attempts import eventually
from tests.executor.k8s.pods import left, needs_this_machine_as_node, pod_plan, run_pod, settings

pytestmark = [pytest.mark.k8s, pytest.mark.slow]
CLASSES, VOLUMES = "/apis/storage.k8s.io/v1/storageclasses", "/api/v1/persistentvolumes"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with connect(settings(tmp_path)) as found:
        yield found


@contextmanager
def storage_class(cluster: Cluster) -> Iterator[str]:
    name = f"autoscorer-test-{uuid.uuid4().hex[:12]}"
    body = {"metadata": {"name": name}, "provisioner": "autoscorer.test/folder"}
    cluster.call("POST", CLASSES, body=body)
    try:
        yield name
    finally:
        cluster.call("DELETE", f"{CLASSES}/{name}")


@pytest.fixture
def provisioned(tmp_path: Path, cluster: Cluster) -> Iterator[str]:
    """A class whose claims get a folder of this machine each."""
    needs_this_machine_as_node()
    for folder in (tmp_path, *tmp_path.parents):  # pytest's are nobody else's
        if folder.stat().st_uid == os.geteuid() and len(folder.parts) > 2:
            folder.chmod(folder.stat().st_mode | 0o011)
    over, made = threading.Event(), set[str]()
    with storage_class(cluster) as name:

        def provision() -> None:
            while not over.wait(0.1):
                for claim in cluster.call("GET", cluster.path("persistentvolumeclaims"))["items"]:
                    uid = claim["metadata"]["uid"]
                    if claim["spec"].get("storageClassName") == name and uid not in made:
                        cluster.call("POST", VOLUMES, body=_volume(claim, tmp_path / "volumes"))
                        made.add(uid)
                began.set()

        began, thread = threading.Event(), threading.Thread(target=provision)
        thread.start()
        assert began.wait(30)  # its connection is there before `run_pod` counts
        yield name
        over.set()
        thread.join()
    for uid in made:
        cluster.call("DELETE", f"{VOLUMES}/{uid}")


def _volume(claim: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    metadata = claim["metadata"]
    place = folder / metadata["uid"]
    place.mkdir(parents=True)
    place.chmod(0o777)
    return {
        "metadata": {"name": metadata["uid"]},
        "spec": {
            "capacity": claim["spec"]["resources"]["requests"],
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": claim["spec"]["storageClassName"],
            "claimRef": {key: metadata[key] for key in ("namespace", "name", "uid")},
            "hostPath": {"path": str(place)},
        },
    }


@pytest.mark.parametrize("more_bytes", [0, 3 * 2**20], ids=["enclosed", "streamed"])
def test_a_job_has_a_volume_of_its_own_that_goes_with_it(
    tmp_path: Path, provisioned: str, more_bytes: int
) -> None:
    plan = pod_plan(tmp_path, "sha256sum < input/more > output/hash; df input output >&2; touch input/x || :")
    content = os.urandom(more_bytes)
    (plan.input_dir / "more").write_bytes(content)
    claims: list[Any] = []

    def look(name: str, _facts: Mapping[str, Any]) -> None:
        if name == "execution_started":
            with connect(settings(tmp_path)) as mine:  # `run_pod` counts what stays open
                claims.append(mine.call("GET", mine.path("persistentvolumeclaims", job_name(plan))))
                metadata = {key: claims[0]["metadata"][key] for key in ("name", "ownerReferences")}
                # As an attempt does that takes the Job up.
                ensure_claim(mine, {"metadata": metadata, "spec": claims[0]["spec"]})

    ran = run_pod(plan, on_event=look, k8s_storage_class=provisioned)  # proves that the claim is gone
    assert ran.code is None
    assert (ran.output / "hash").read_text().split()[0] == hashlib.sha256(content).hexdigest()
    assert claims[0]["metadata"]["ownerReferences"][0]["kind"] == "Job"
    assert int(claims[0]["spec"]["resources"]["requests"]["storage"]) > more_bytes + plan.limits.output_bytes
    assert b"Read-only file system" in ran.log


def test_a_volume_is_measured_as_the_nodes_disk_is(tmp_path: Path, provisioned: str) -> None:
    script = "while dd if=/dev/zero bs=1M count=20 >> output/big; do :; done; sleep 60"
    assert run_pod(pod_plan(tmp_path, script), k8s_storage_class=provisioned).code == "OUTPUT_LIMIT"


def test_a_class_that_is_not_there_is_the_operators_and_told_at_once(tmp_path: Path) -> None:
    # The time to start would be fifteen minutes.
    with pytest.raises(AutoscorerError, match=r"no-such-class.* not found.*K8S_STORAGE_CLASS") as caught:
        run_pod(pod_plan(tmp_path, "true"), k8s_storage_class="no-such-class")
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", "operator")


def test_a_claim_that_nobody_fills_is_the_operators(tmp_path: Path, cluster: Cluster) -> None:
    with storage_class(cluster) as name, pytest.raises(AutoscorerError, match="unbound") as caught:
        run_pod(pod_plan(tmp_path, "true"), k8s_storage_class=name, k8s_start_timeout_s=8)
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", "operator")


@contextmanager
def installation(cluster: Cluster) -> Iterator[str]:
    name = f"autoscorer-test-{uuid.uuid4().hex[:12]}"
    cluster.call("POST", cluster.path("configmaps"), body={"metadata": {"name": name}})
    try:
        yield name
    finally:
        with suppress(RefusedError):  # gone by now
            cluster.call("DELETE", cluster.path("configmaps", name))


@pytest.mark.long
@pytest.mark.parametrize("is_owned", [True, False], ids=["owned", "control"])
def test_who_deletes_the_installation_deletes_its_jobs_pods_and_claims(
    tmp_path: Path, cluster: Cluster, provisioned: str, is_owned: bool
) -> None:
    plan = pod_plan(tmp_path, "sleep 20", time_limit_s=300)
    seen: list[list[str]] = []

    def delete(name: str, _facts: Mapping[str, Any]) -> None:
        if name == "execution_started":
            with connect(settings(tmp_path)) as mine:  # `run_pod` counts what stays open
                mine.call("DELETE", mine.path("configmaps", owner))
                seen.append(left(mine, job_name(plan)))
                assert not is_owned or eventually(lambda: left(mine, job_name(plan)) == [], within_s=200)

    with installation(cluster) as owner:
        changes: dict[str, Any] = {"k8s_owner": owner} if is_owned else {}
        ran = run_pod(plan, on_event=delete, k8s_storage_class=provisioned, **changes)
    assert len(seen[0]) == 3
    assert ran.code == ("CONTAINER_WAIT_FAILED" if is_owned else None)


def test_an_installation_that_is_not_there_is_the_operators(tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError, match="K8S_OWNER") as caught:
        run_pod(pod_plan(tmp_path, "true"), k8s_owner="no-such-map")
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", "operator")
