"""What happens to a job when its node does: real, on a node that is the test's alone for a while."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from autoscorer.executor.k8s.client import Cluster, connect
from autoscorer.executor.k8s.waiting import Vigil
from autoscorer.utils.errors import AutoscorerError
from tests.executor.attempts import eventually
from tests.executor.k8s.pods import BUSYBOX, needs_this_machine_as_node, pod_plan, run_pod, settings
from tests.executor.k8s.produced import Judged

pytestmark = [pytest.mark.k8s, pytest.mark.slow, pytest.mark.node]
CLUSTER = Path(__file__).resolve().parents[3] / "scripts" / "k8s-cluster"
NODE = "/api/v1/nodes/localhost"
ANY_OTHER = "evicted for any other reason"


def cluster_script(*words: str) -> None:
    subprocess.run([CLUSTER, *words], check=True, capture_output=True, timeout=120)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    needs_this_machine_as_node()
    with connect(settings(tmp_path)) as found:
        yield found


@contextmanager
def restarted(program: str, *flags: str) -> Iterator[None]:
    """It runs with these flags besides its own; afterwards without them."""
    try:
        cluster_script("restart", program, *flags)
        yield
    finally:
        cluster_script("restart", program)


def condition(cluster: Cluster, kind: str) -> str:
    rows = cluster.call("GET", NODE)["status"]["conditions"]
    return str(next(row["status"] for row in rows if row["type"] == kind))


def once_running(do: Callable[[], object]) -> Callable[[str, Mapping[str, Any]], None]:
    def hear(name: str, _facts: Mapping[str, Any]) -> None:
        if name == "execution_started":
            do()

    return hear


@pytest.fixture
def unpressed(cluster: Cluster) -> Iterator[None]:
    """Afterwards the node is well, and has its images: short of disk it removes what it does not use."""
    yield
    kinds = ("MemoryPressure", "DiskPressure")
    assert eventually(lambda: {condition(cluster, kind) for kind in kinds} == {"False"}, within_s=60)
    cluster_script("up")
    assert eventually(lambda: "taints" not in cluster.call("GET", NODE)["spec"], within_s=60)


@pytest.mark.usefixtures("unpressed")
@pytest.mark.parametrize(
    ("threshold", "row", "code", "blame"),
    [
        ("memory.available<99%", ANY_OTHER, "CONTAINER_WAIT_FAILED", "platform"),
        ("nodefs.available<99%", ANY_OTHER, "CONTAINER_WAIT_FAILED", "platform"),
    ],
    ids=["memory", "disk"],
)
def test_a_node_that_runs_short_of_something_is_not_the_programs_doing(
    tmp_path: Path, judged: Judged, threshold: str, row: str, code: str, blame: str
) -> None:
    """The kubelet is told that what it has is too little, and evicts for that."""
    signal_name = threshold.partition("<")[0]
    flags = (f"--eviction-soft={threshold}", f"--eviction-soft-grace-period={signal_name}=1s")
    done = restarted("kubelet", *flags, "--eviction-pressure-transition-period=1s")
    begun = threading.Event()

    def press(name: str, _facts: Mapping[str, Any]) -> None:
        if name == "execution_started":
            done.__enter__()
            begun.set()

    try:
        ran = run_pod(pod_plan(tmp_path, "sleep 200", time_limit_s=190), on_event=press)
        error = ran.error
    except AutoscorerError as exc:
        error = exc
    finally:
        if begun.is_set():
            done.__exit__(None, None, None)
    assert judged.last == row
    assert error is not None
    assert (error.code, error.blame) == (code, blame)


def test_a_pod_that_must_make_room_for_a_more_important_one_is_tried_again(
    tmp_path: Path, cluster: Cluster, judged: Judged
) -> None:
    free = int(cluster.call("GET", NODE)["status"]["allocatable"]["cpu"]) * 1000
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    cluster.call("POST", classes, body={"metadata": {"name": "urgent"}, "value": 1000})
    urgent = {
        "metadata": {"name": "urgent"},
        "spec": {
            "priorityClassName": "urgent",
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "main",
                    "image": BUSYBOX,
                    "imagePullPolicy": "Never",
                    "command": ["sleep", "600"],
                    "resources": {"requests": {"cpu": f"{free - 50}m"}},
                }
            ],
        },
    }
    try:
        plan = pod_plan(tmp_path, "sleep 200", time_limit_s=190)
        ran = run_pod(
            plan, on_event=once_running(lambda: cluster.call("POST", cluster.path("pods"), body=urgent))
        )
        events = cluster.call("GET", cluster.path("events"))["items"]
    finally:
        cluster.call("DELETE", cluster.path("pods", "urgent"))
        cluster.call("DELETE", f"{classes}/urgent")
    assert any(row["reason"] == "Preempted" for row in events)
    assert judged.last == "deleted, and not by us: by hand, or drained by an older cluster"
    assert ran.error is not None
    assert (ran.code, ran.error.blame, ran.error.retryable) == ("CONTAINER_WAIT_FAILED", "platform", True)


@contextmanager
def frozen_node() -> Iterator[Callable[[], None]]:
    """Gives what makes the kubelet stand still; afterwards it goes on."""
    folder = Path(os.environ["AUTOSCORER_TEST_KUBECONFIG"]).parent / "run"

    def send(number: int) -> None:
        os.kill(int((folder / "kubelet.pid").read_text()), number)

    try:
        yield lambda: send(signal.SIGSTOP)
    finally:
        send(signal.SIGCONT)


@pytest.mark.parametrize("is_guarded", [True, False], ids=["guarded", "control"])
def test_a_program_whose_node_was_lost_is_not_late(
    tmp_path: Path, cluster: Cluster, judged: Judged, monkeypatch: pytest.MonkeyPatch, is_guarded: bool
) -> None:
    """Its limit passes while nobody knows what it does. Control: believed to run, it is called late."""
    defaults = Vigil.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "silence_s", 15.0)
    if not is_guarded:
        monkeypatch.setattr("autoscorer.executor.k8s.pod_facts._is", lambda *_: False)
    quick = "--node-monitor-grace-period=4s"
    with (
        restarted("kubelet", "--node-status-update-frequency=1s"),
        restarted("kube-controller-manager", quick, "--node-monitor-period=1s"),
        frozen_node() as freeze,
    ):
        assert eventually(lambda: condition(cluster, "Ready") == "True", within_s=60)

        def lose() -> None:
            freeze()
            assert eventually(lambda: condition(cluster, "Ready") == "Unknown", within_s=60)

        plan = pod_plan(tmp_path, "sleep 200", time_limit_s=10)
        ran = run_pod(plan, on_event=once_running(lose))
    assert ran.error is not None
    expected = ("CONTAINER_WAIT_FAILED", "platform") if is_guarded else ("TIME_LIMIT", "participant")
    assert (ran.code, ran.error.blame) == expected
