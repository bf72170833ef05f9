"""What a pod may do, compared with files that a person can read. UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoscorer.executor.base import AttemptPlan
from autoscorer.executor.k8s.belongings import claim_manifest, size_bytes
from autoscorer.executor.k8s.manifest import Claimed, job_manifest
from autoscorer.executor.k8s.naming import content_digest, job_name
from autoscorer.executor.k8s.network_policy import deny_all
from autoscorer.executor.streaming.packing import Package
from autoscorer.utils.config import Config, Settings
from tests.executor.attempts import make_plan

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def plan(root: Path, **changes: Any) -> AttemptPlan:
    made = make_plan(root, ("python", "predict.py", "$(HOME)"), env={"SEED": "7"}, **changes)
    return replace(made, job_id="job-1", attempt_id="1", attempt_dir=Path("/ws/.attempts/1"))


def settings(root: Path, **environ: str) -> Settings:
    return Config(root / "no.yaml", environ=environ).settings


def compare(name: str, found: object) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(json.dumps(found, indent=2) + "\n")
    assert found == json.loads(path.read_text())


def test_the_baseline_is_as_the_golden_file(tmp_path: Path) -> None:
    compare("k8s_baseline.json", job_manifest(plan(tmp_path), settings(tmp_path), name="n", image="python:3"))


def test_every_option_stands_where_it_belongs(tmp_path: Path) -> None:
    given = settings(
        tmp_path,
        IMAGE_PULL_POLICY="always",
        K8S_IMAGE_PULL_SECRET="registry",
        K8S_RUNTIME_CLASS="gvisor",
        K8S_PRIORITY_CLASS="scoring",
        K8S_NODE_SELECTOR='{"pool": "scoring"}',
        K8S_TOLERATIONS='[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]',
        K8S_HELPER_IMAGE="registry.example/tools:1",
        K8S_START_TIMEOUT="60",
    )
    asked = replace(plan(tmp_path, gpus=2, cpu_cores=1.5, shm_bytes=8 * 2**20), network="scoring-net")
    compare("k8s_all_options.json", job_manifest(asked, given, name="n", image="python:3"))


def test_a_little_data_goes_with_the_job_itself(tmp_path: Path) -> None:
    asked = plan(tmp_path)
    enclosed = Package(asked.input_dir, asked.spec_path).enclosed()
    assert enclosed is not None
    body = job_manifest(asked, settings(tmp_path), name="n", image="python:3", enclosed=enclosed)
    sidecar, main = _containers(body)
    assert sidecar["name"] == "sidecar"
    (given,) = sidecar["env"]
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(given["value"]))) as tar:
        assert tar.getnames() == ["input", "input/data.csv", "meta.json"]
    # Nothing of it but the way in is another than that of data that are streamed.
    plain = job_manifest(asked, settings(tmp_path), name="n", image="python:3")
    assert main == list(_containers(plain))[1]
    (asked.input_dir / "large.csv").write_bytes(bytes(48 * 2**10))
    assert Package(asked.input_dir, asked.spec_path).enclosed() is None


def test_a_claim_is_mounted_below_folders_of_ours(tmp_path: Path) -> None:
    claimed = Claimed(claim="data", view_path="w/.attempts/1/view", input_path="w/input", output_path="w/o")
    compare(
        "k8s_bind.json",
        job_manifest(plan(tmp_path), settings(tmp_path), name="n", image="python:3", claimed=claimed),
    )


def test_a_job_with_a_volume_of_its_own_has_its_folders_there(tmp_path: Path) -> None:
    given = settings(tmp_path, K8S_STORAGE_CLASS="fast")
    asked = plan(tmp_path)
    body = job_manifest(asked, given, name="n", image="python:3")
    claim = claim_manifest("n", storage_class="fast", size=size_bytes(asked.limits, 1000), job=JOB)
    compare("k8s_own_volume.json", {"job": body, "claim": claim})


JOB = {"name": "n", "uid": "0-1"}


def test_the_network_policy_lets_nothing_in_or_out() -> None:
    compare("k8s_network_policy.json", deny_all())


def _containers(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from body["spec"]["template"]["spec"]["containers"]


def test_no_container_is_less_confined_than_the_restricted_level(tmp_path: Path) -> None:
    body = job_manifest(plan(tmp_path), settings(tmp_path), name="n", image="python:3")
    for container in _containers(body):
        context = container["securityContext"]
        assert context["runAsNonRoot"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["readOnlyRootFilesystem"]
    assert body["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_what_a_program_may_have_is_what_is_set_aside_for_it(tmp_path: Path) -> None:
    body = job_manifest(plan(tmp_path, gpus=1), settings(tmp_path), name="n", image="python:3")
    main = next(row for row in _containers(body) if row["name"] == "main")
    assert main["resources"]["requests"] == main["resources"]["limits"]


def test_the_job_outlives_the_pods_deadline_and_that_the_time_limit(tmp_path: Path) -> None:
    spec = job_manifest(plan(tmp_path), settings(tmp_path), name="n", image="python:3")["spec"]
    assert 60 < spec["template"]["spec"]["activeDeadlineSeconds"] < spec["activeDeadlineSeconds"]


def test_ids_that_share_a_prefix_have_names_of_their_own(tmp_path: Path) -> None:
    one = plan(tmp_path)
    others = [
        replace(one, job_id="job-1" + "x" * 300),
        replace(one, job_id="job-1" + "x" * 301),
        replace(one, lease="task-1/1/worker"),
        replace(one, lease="task-2/1/worker"),
        replace(one, attempt_dir=Path("/other/.attempts/1")),
    ]
    names = {job_name(one), *map(job_name, others)}
    assert len(names) == 6
    assert all(len(name) <= 63 for name in names)


def test_a_later_attempt_finds_what_an_earlier_one_has_begun(tmp_path: Path) -> None:
    one = replace(plan(tmp_path), lease="task-1/1/worker-a")
    later = replace(one, attempt_dir=Path("/ws/.attempts/2"), attempt_id="2", lease="task-1/2/worker-b")
    assert job_name(one) == job_name(later)


@pytest.mark.parametrize("change", ["input", "spec", "body"])
def test_an_attempt_on_other_data_is_another(tmp_path: Path, change: str) -> None:
    asked, body = plan(tmp_path), {"image": "a"}
    before = content_digest(asked, body)
    assert content_digest(asked, body) == before
    if change == "input":
        (asked.input_dir / "data.csv").write_text("id\n1\n2\n")
    elif change == "spec":
        asked.spec_path.write_text('{"job_id": "x"}')
    else:
        body = {"image": "b"}
    assert content_digest(asked, body) != before
