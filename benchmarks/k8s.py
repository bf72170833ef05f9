"""What a job on Kubernetes costs besides its container: our executor against a bare Job of the same image."""

from __future__ import annotations

import json
import os
import random
import resource
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from autoscorer.executor.base import Limits
from autoscorer.executor.k8s.client import Cluster, connect
from autoscorer.executor.k8s.jobs import BATCH, remove_job
from autoscorer.executor.k8s.naming import LABEL_ATTEMPT
from autoscorer.executor.k8s.watch import PodWatch
from autoscorer.executor.k8s_executor import K8sExecutor
from autoscorer.harvest import HarvestPolicy
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.config import Config, Settings
from benchmarks.attempts import IMAGE, attempt_of_true
from benchmarks.harness import Comparison, Row, Run

PAIRS = 30
LOOKS_EVERY_S = 1.0  # a kubelet looks for containers that have ended
MIB = 2**20
LIMITS = Limits(
    cpu_cores=0.1,
    memory_bytes=64 * MIB,
    gpus=0,
    shm_bytes=MIB,
    time_limit_s=30,
    output_bytes=MIB,
)


def rows() -> Iterator[Row]:
    """Nothing without a cluster: `make bench GROUP=k8s` brings one."""
    kubeconfig = os.environ.get("AUTOSCORER_TEST_KUBECONFIG")
    if not kubeconfig:
        return
    environ = {
        "K8S_KUBECONFIG": kubeconfig,
        "K8S_HELPER_IMAGE": IMAGE,
        "IMAGE_PULL_POLICY": "never",
    }
    with tempfile.TemporaryDirectory(prefix="autoscorer-bench-") as folder:
        settings = replace(Config("/nowhere", environ=environ).settings, data_dir=Path(folder, "data"))
        with connect(settings) as cluster:
            version = cluster.call("GET", "/version")["gitVersion"]
            yield Row(
                work="the executor in-process: `true` in a pod, data in and output out by stream",
                against="a bare Job of the same image: created, watched to its end, deleted",
                comparison=_compared(cluster, settings, Path(folder)),
                note=f"Kubernetes {version}",
                aim=None,
                most_s_more=0.5,
            )


def _compared(cluster: Cluster, settings: Settings, root: Path) -> Comparison:
    """Interleaved; the first pair warms both and is not counted."""
    _make_workspace(root)
    pairs = [
        (_timed(lambda: _ours(settings, root)), _timed(lambda: _bare(cluster))) for _ in range(PAIRS + 1)
    ][1:]
    return Comparison(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))


def _ours(settings: Settings, root: Path) -> None:
    executor, folder = K8sExecutor(settings), Path(tempfile.mkdtemp(dir=root))
    plan = attempt_of_true(root, folder, LIMITS)

    def collect(*_: object) -> None:
        executor.take_output(plan, folder / "taken", HarvestPolicy(max_bytes=MIB))

    outcome = executor.run(plan, stop=lambda: None, on_event=lambda *_: None, collect=collect)
    assert outcome.exit_code == 0, outcome
    remove_tree(folder)


def _bare(cluster: Cluster) -> None:
    name = f"autoscorer-bench-{secrets.token_hex(6)}"
    amounts = {"cpu": "100m", "memory": "64Mi"}
    container = {
        "name": "main",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "args": ["true"],
        "resources": {"requests": amounts, "limits": amounts},
    }
    template = {
        "metadata": {"labels": {LABEL_ATTEMPT: name}},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    body = {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": template}}
    cluster.call("POST", cluster.path("jobs", group=BATCH), body=body)
    watch = PodWatch(cluster, name)
    while not any(pod["status"].get("phase") == "Succeeded" for pod in watch.pods.values()):
        watch.changed(1.0)
    remove_job(cluster, name, if_of=lambda _owner: True)
    watch.close()


def _timed(work: Callable[[], None]) -> Run:
    """From a moment of its own: what begins as another ends would always meet the kubelet's look alike."""
    time.sleep(random.uniform(0, LOOKS_EVERY_S))
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    return Run(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _make_workspace(root: Path) -> None:
    for name in ("input", "logs"):
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir()
    (root / "input" / "data.csv").write_text("id\n1\n")
    (root / "meta.json").write_text(json.dumps({"job_id": "bench"}))
