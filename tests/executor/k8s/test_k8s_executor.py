"""Every test here runs on a real cluster; what a 1.20 node cannot produce is in test_scripted.py."""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoscorer.claims import FencedError
from autoscorer.executor.base import RunOutcome, StopReason
from autoscorer.executor.k8s import manifest
from autoscorer.executor.k8s.client import connect
from autoscorer.executor.k8s.jobs import _take_over, job_metadata, pods_of, reap, remove_pod
from autoscorer.executor.k8s.naming import job_name
from autoscorer.executor.k8s_executor import K8sExecutor
from autoscorer.executor.ownership import Owner
from autoscorer.utils.errors import AutoscorerError
from tests.executor.attempts import eventually
from tests.executor.k8s.pods import BUSYBOX, PYTHON, assert_nothing_left, pod_plan, run_pod, settings

pytestmark = [pytest.mark.k8s, pytest.mark.slow]
MIB = 2**20


def test_a_program_reads_its_input_and_its_output_is_harvested(tmp_path: Path) -> None:
    plan = pod_plan(
        tmp_path, "cat input/data.csv meta.json; mkdir output/a; cp input/data.csv output/a/pred.csv"
    )
    (plan.input_dir / "sub").mkdir()
    (plan.input_dir / "sub" / ("n" * 150)).write_text("long name")
    (plan.input_dir / "link").symlink_to("data.csv")
    ran = run_pod(plan)
    assert ran.code is None
    assert (ran.output / "a" / "pred.csv").read_text() == "id\n1\n"
    assert ran.log == b"id\n1\n{}"


def test_data_too_large_for_the_job_itself_are_streamed(tmp_path: Path) -> None:
    plan = pod_plan(tmp_path, "sha256sum < input/large > output/hash")
    content = os.urandom(3 * MIB)
    (plan.input_dir / "large").write_bytes(content)
    ran = run_pod(plan)
    assert ran.code is None
    assert (ran.output / "hash").read_text().split()[0] == hashlib.sha256(content).hexdigest()


def test_data_that_the_sidecar_cannot_unpack_are_never_the_participants_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "unpack_script", lambda _size: "echo no base64 here; exit 1")
    ran = run_pod(pod_plan(tmp_path, "true"))
    assert ran.error is not None
    assert (ran.code, ran.error.blame) == ("CONTAINER_WAIT_FAILED", "platform")


def test_a_command_reaches_the_program_letter_by_letter(tmp_path: Path) -> None:
    # Kubernetes would put $(HOME) in, and make one $ of two.
    odd = "$(HOME) $$(HOME) $$ ${HOME} $x"
    plan = pod_plan(
        tmp_path, 'printf "%s" "$ODD" > output/env; printf "%s" "$0" > output/arg', env={"ODD": odd}
    )
    plan = type(plan)(**{**plan.__dict__, "command": (*plan.command, odd)})
    ran = run_pod(plan)
    assert ran.code is None
    assert [(ran.output / name).read_text() for name in ("env", "arg")] == [odd, odd]


@pytest.mark.parametrize(
    ("script", "code", "exit_code"),
    [
        ("exit 7", "CONTAINER_EXIT_NONZERO", 7),
        ("sh -c 'kill -9 $$'; exit $?", "CONTAINER_EXIT_NONZERO", 137),
        # What a node that ends a container would look like.
        ("exit 137", "CONTAINER_EXIT_NONZERO", 137),
        ("exit 143", "CONTAINER_EXIT_NONZERO", 143),
        (
            "echo OOMKilled Evicted DeadlineExceeded > /dev/termination-log; exit 1",
            "CONTAINER_EXIT_NONZERO",
            1,
        ),
    ],
)
def test_whatever_a_program_ends_with_is_its_own_fault(
    tmp_path: Path, script: str, code: str, exit_code: int
) -> None:
    ran = run_pod(pod_plan(tmp_path, script))
    assert ran.code == code
    assert ran.error is not None
    assert ran.error.blame == "participant"
    assert ran.outcome.exit_code == exit_code


def test_a_command_that_is_not_there_is_the_participants(tmp_path: Path) -> None:
    plan = pod_plan(tmp_path, "")
    ran = run_pod(type(plan)(**{**plan.__dict__, "command": ("/no/such/program",)}))
    assert (ran.code, ran.outcome.exit_code) == ("CONTAINER_EXIT_NONZERO", 127)


def test_too_much_memory_is_named(tmp_path: Path) -> None:
    plan = pod_plan(tmp_path, "", image=PYTHON, memory_bytes=48 * MIB)
    hog = "x = bytearray(400 * 2**20); print(len(x))"
    ran = run_pod(type(plan)(**{**plan.__dict__, "command": ("python", "-c", hog)}))
    assert ran.code == "MEMORY_LIMIT"


def test_the_time_limit_ends_a_program_and_its_log_is_kept(tmp_path: Path) -> None:
    ran = run_pod(pod_plan(tmp_path, "echo begun; trap '' TERM; while :; do sleep 1; done", time_limit_s=2))
    assert ran.code == "TIME_LIMIT"
    # A kubelet may add that it cannot find the container any more.
    assert ran.log.startswith(b"begun\n")


def test_a_cancel_ends_a_program(tmp_path: Path) -> None:
    began = threading.Event()
    ran = run_pod(
        pod_plan(tmp_path, "sleep 60"),
        stop=lambda: StopReason.CANCELLED if began.is_set() else None,
        on_event=lambda name, _facts: began.set() if name == "execution_started" else None,
    )
    assert ran.code == "CANCELLED"


def test_a_cancel_while_the_pod_waits_for_a_node_leaves_nothing(tmp_path: Path) -> None:
    made = threading.Event()
    ran = run_pod(
        pod_plan(tmp_path, "true", cpu_cores=4000),
        stop=lambda: StopReason.CANCELLED if made.is_set() else None,
        on_event=lambda name, _facts: made.set() if name == "job_created" else None,
    )
    assert ran.code == "CANCELLED"


def test_a_job_no_node_has_room_for_says_so(tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError, match=r"Insufficient cpu") as caught:
        run_pod(pod_plan(tmp_path, "true", cpu_cores=4000), k8s_start_timeout_s=5)
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", "operator")


def test_gpus_no_node_has_are_named(tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError, match=r"nvidia.com/gpu") as caught:
        run_pod(pod_plan(tmp_path, "true", gpus=1), k8s_start_timeout_s=5)
    assert caught.value.code == "RESOURCE_UNAVAILABLE"


def test_an_image_that_is_not_there_and_not_pulled(tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError) as caught:
        run_pod(pod_plan(tmp_path, "true", image="autoscorer-test/absent:1"))
    assert (caught.value.code, caught.value.blame) == ("IMAGE_NOT_PRESENT", "participant")


def test_an_image_of_no_name_is_refused_before_the_cluster_hears_of_it(tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError, match="no image name"):
        run_pod(pod_plan(tmp_path, "true", image="NOT A NAME"))


def test_an_image_in_a_registry_that_does_not_answer_is_tried_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = pod_plan(tmp_path, "true", image="127.0.0.1:9/absent:1")
    with pytest.raises(AutoscorerError) as caught:
        run_pod(plan, image_pull_policy="always")
    assert (caught.value.code, caught.value.cause) == ("IMAGE_PULL_FAILED", "network")


def test_a_log_is_complete_and_bounded(tmp_path: Path) -> None:
    script = "for i in $(seq 1 3000); do echo line $i; done; echo last >&2"
    ran = run_pod(pod_plan(tmp_path, script))
    # The two streams are pipes of their own, so their order is nobody's promise.
    assert sorted(ran.log.splitlines()) == sorted([b"last", *(b"line %d" % i for i in range(1, 3001))])
    line = "x" * 1000
    flood = run_pod(pod_plan(tmp_path, f"yes {line} | head -c 20000000; echo the end", cpu_cores=0.5))
    assert len(flood.log) <= MIB + 100
    assert flood.log.endswith(b"the end\n")
    assert flood.outcome.log_bytes_dropped > 18_000_000


def test_a_program_that_writes_too_much_is_ended(tmp_path: Path) -> None:
    ran = run_pod(
        pod_plan(tmp_path, "while dd if=/dev/zero bs=1M count=20 >> output/big; do :; done; sleep 60")
    )
    assert ran.code == "OUTPUT_LIMIT"


def test_a_pod_that_somebody_deletes_is_the_platforms_to_try_again(tmp_path: Path) -> None:
    plan = pod_plan(tmp_path, "sleep 60")

    def delete(name: str, _facts: object) -> None:
        if name == "execution_started":
            with connect(settings(tmp_path)) as cluster:
                for pod in pods_of(cluster, job_name(plan)):
                    remove_pod(cluster, pod)

    ran = run_pod(plan, on_event=delete)
    assert ran.code == "CONTAINER_WAIT_FAILED"
    assert ran.error is not None
    assert ran.error.retryable


def test_a_program_sees_no_token_no_network_name_and_no_data_of_others(tmp_path: Path) -> None:
    script = (
        "ls /var/run/secrets /autoscorer 2>/dev/null; env | grep -i token; "
        "touch input/x meta.json /x /workspace/x 2>/dev/null && echo WROTE; id -u; cat /etc/resolv.conf"
    )
    ran = run_pod(pod_plan(tmp_path, script, image=BUSYBOX))
    assert ran.log == b"65534\nnameserver 127.0.0.1\n"


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[str]:
    """One of its own, ready for pods."""
    name = f"autoscorer-test-{uuid.uuid4().hex[:12]}"
    with connect(settings(tmp_path)) as cluster:
        cluster.call("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
        account = f"/api/v1/namespaces/{name}/serviceaccounts"
        try:
            assert eventually(lambda: bool(cluster.call("GET", account)["items"]))
            yield name
        finally:
            cluster.call("DELETE", f"/api/v1/namespaces/{name}")


def test_a_quota_that_is_used_up_is_named(tmp_path: Path, namespace: str) -> None:
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"requests.cpu": "20m"}}}
    with connect(settings(tmp_path)) as cluster:
        path = f"/api/v1/namespaces/{namespace}/resourcequotas"
        cluster.call("POST", path, body=quota)
        assert eventually(lambda: "hard" in cluster.call("GET", f"{path}/small").get("status", {}))
    with pytest.raises(AutoscorerError, match=r"exceeded quota") as caught:
        run_pod(pod_plan(tmp_path, "true"), k8s_namespace=namespace, k8s_start_timeout_s=5)
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", "operator")


def test_a_runtime_class_that_is_not_there_is_the_operators_and_told_at_once(tmp_path: Path) -> None:
    # The time to start would be fifteen minutes.
    with pytest.raises(AutoscorerError, match=r"absent") as caught:
        run_pod(pod_plan(tmp_path, "true"), k8s_runtime_class="absent")
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", "operator")


def test_a_pod_that_is_drained_from_its_node_is_the_platforms_to_try_again(tmp_path: Path) -> None:
    plan = pod_plan(tmp_path, "sleep 60")

    def drain(name: str, facts: Mapping[str, Any]) -> None:
        if name == "execution_started":  # what `kubectl drain` does
            eviction = {
                "apiVersion": "policy/v1beta1",
                "kind": "Eviction",
                "metadata": {"name": facts["pod"]},
            }
            with connect(settings(tmp_path)) as cluster:
                cluster.call("POST", cluster.path("pods", f"{facts['pod']}/eviction"), body=eviction)

    ran = run_pod(plan, on_event=drain)
    assert ran.code == "CONTAINER_WAIT_FAILED"
    assert ran.error is not None
    assert ran.error.retryable


@pytest.mark.parametrize("is_taken_over", [True, False])
def test_what_another_has_taken_over_meanwhile_is_left_to_it(
    tmp_path: Path, namespace: str, is_taken_over: bool
) -> None:
    """Control: what nobody has taken over is gone."""
    plan = pod_plan(tmp_path, "true")
    used = settings(tmp_path, k8s_namespace=namespace)
    with connect(used) as cluster:

        def fenced(_folder: Path, _outcome: RunOutcome) -> None:
            if is_taken_over:
                name, other = job_name(plan), replace(Owner.this_process(), pid=1)
                assert eventually(lambda: _take_over(cluster, job_metadata(cluster, name), other))
            raise FencedError("another has it")

        with pytest.raises(FencedError):
            K8sExecutor(used).run(plan, stop=lambda: None, on_event=lambda *_: None, collect=fenced)
        if is_taken_over:
            job, pod = job_metadata(cluster, job_name(plan)), pods_of(cluster, job_name(plan))[0]["metadata"]
            assert not {"deletionTimestamp"} & {*job, *pod}
            assert [removed.name for removed in reap(cluster, lambda _owner: False)] == [job_name(plan)]
    assert_nothing_left(used, job_name(plan))
