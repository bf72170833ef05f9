"""The whole service in a cluster, as docs/DEPLOYMENT.md has it: image, secrets, `kubectl apply -k`, a job."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.executor.attempts import eventually
from tests.executor.k8s.pods import needs_this_machine_as_node

pytestmark = [pytest.mark.k8s, pytest.mark.docker, pytest.mark.slow]
ROOT = Path(__file__).resolve().parent.parent.parent
CLUSTER = ROOT / "scripts" / "k8s-cluster"
OVERLAY = ROOT / "deploy" / "kubernetes" / "overlays" / "test"
NODE_FOLDER = Path("/var/tmp/autoscorer-k8s-service")  # what the overlay's volumes name
URL = "http://127.0.0.1:28000"
SERVICE_USER, POSTGRES_USER = 10001, 70


def said(*command: object, environ: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env=os.environ | dict(environ or {}),
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def kubectl(*arguments: object) -> str:
    return said(CLUSTER, "kubectl", *arguments)


@dataclass
class Service:
    """The service in the cluster and what its operator holds of it."""

    client: httpx.Client
    workspaces: Path

    def add(self, name: str, *, seconds: float = 0.0) -> str:
        """A copy of the example, as another workspace with a program that takes longer."""
        workspace = self.workspaces / name
        shutil.copytree(ROOT / "examples" / "classification", workspace)
        path = workspace / "meta.json"
        spec = json.loads(path.read_text(encoding="utf-8"))
        run = "runpy.run_path('input/predict.py', run_name='__main__')"
        waits = f"import runpy, time; time.sleep({seconds}); {run}"
        spec["container"]["cmd"] = ["python", "-c", waits]
        spec["resources"] = {"cpu": 0.1, "memory": "128Mi", "gpus": 0}
        path.write_text(json.dumps(spec | {"job_id": name, "time_limit": 300}), encoding="utf-8")
        for entry in (workspace, *workspace.rglob("*")):
            os.chown(entry, SERVICE_USER, SERVICE_USER)
        return name

    def submitted(self, name: str) -> str:
        answer = self.client.post("/submit", json={"workspace": name, "action": "pipeline"})
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["data"]["task_id"])

    def task(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/tasks/{task_id}").json()["data"]
        return found

    def ended(self, task_id: str, *, within_s: float = 120.0) -> dict[str, Any]:
        assert eventually(lambda: self.task(task_id)["is_final"], within_s=within_s), self.task(task_id)
        return self.task(task_id)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """What an operator does, step by step; undone in the end."""
    needs_this_machine_as_node()
    said(ROOT / "scripts" / "service-image", "load")
    shutil.rmtree(NODE_FOLDER, ignore_errors=True)
    for name, user in (("files", SERVICE_USER), ("database", POSTGRES_USER)):
        (NODE_FOLDER / name).mkdir(parents=True)
        os.chown(NODE_FOLDER / name, user, user)
    places = {"REDIS_AT": "127.0.0.1:26379", "POSTGRES_AT": "127.0.0.1:25432"}
    try:
        said(
            OVERLAY.parent.parent / "secrets",
            "--kubeconfig",
            os.environ["AUTOSCORER_TEST_KUBECONFIG"],
            environ=places | {"KUBECTL": said(CLUSTER, "kubectl-path").strip()},
        )
        the_cluster_takes_every_object_of_the_production_overlay(tmp_path)
        kubectl("apply", "-k", OVERLAY)
        for name in ("statefulset/postgres", "deployment/autoscorer-api", "deployment/autoscorer-worker"):
            kubectl("-n", "autoscorer", "rollout", "status", name, "--timeout=180s")
        token = kubectl(
            "-n",
            "autoscorer",
            "exec",
            "deployment/autoscorer-api",
            "--",
            "cat",
            "/srv/autoscorer/data/operator.token",
        )
        headers = {"Authorization": f"Bearer {token.strip()}"}
        with httpx.Client(base_url=URL, headers=headers, timeout=60, trust_env=False) as client:
            yield Service(client, NODE_FOLDER / "files" / "workspaces")
    finally:
        said(CLUSTER, "kubectl", "delete", "--ignore-not-found", "--wait=false", "-k", OVERLAY)
        kubectl("-n", "autoscorer", "delete", "pods", "--all", "--force", "--grace-period=0")
        shutil.rmtree(NODE_FOLDER, ignore_errors=True)


def jobs() -> list[str]:
    rows = json.loads(kubectl("-n", "autoscorer-jobs", "get", "jobs", "-o", "json"))["items"]
    return [str(row["metadata"]["annotations"]["autoscorer.io/job-id"]) for row in rows]


def a_job_submitted_over_the_api_runs_as_a_kubernetes_job(service: Service) -> None:
    task_id = service.submitted(service.add("by-the-api", seconds=3))
    assert eventually(lambda: jobs() == ["by-the-api"])
    ended = service.ended(task_id)
    assert ended["state"] == "succeeded", ended["error"]
    assert ended["result"]["summary"]["score"] == pytest.approx(0.9485, abs=1e-4)
    # Nobody gave the worker a kubeconfig or a token: it is its pod's own account that did this.
    assert ended["result"]["versioning"]["backend"] == "k8s"
    assert eventually(lambda: jobs() == [])


def a_worker_that_is_replaced_and_then_dies_has_its_job_taken_up_by_the_next(service: Service) -> None:
    task_id = service.submitted(service.add("outlives-its-worker", seconds=75))
    assert eventually(lambda: jobs() == ["outlives-its-worker"])
    assert eventually(lambda: service.task(task_id)["state"] == "running")
    uid = kubectl("-n", "autoscorer-jobs", "get", "jobs", "-o", "jsonpath={.items[*].metadata.uid}")
    kubectl("-n", "autoscorer", "rollout", "restart", "deployment/autoscorer-worker")
    kubectl("-n", "autoscorer", "rollout", "status", "deployment/autoscorer-worker", "--timeout=120s")
    # Another attempt by its number, and not counted.
    assert eventually(lambda: service.task(task_id)["attempt"] == 2, within_s=60)
    assert service.task(task_id)["attempts_allowed"] == 4
    selected = ("-l", "app.kubernetes.io/component=worker", "--force", "--grace-period=0")
    kubectl("-n", "autoscorer", "delete", "pod", *selected)
    seen = {uid}

    def is_over() -> bool:
        found = kubectl("-n", "autoscorer-jobs", "get", "jobs", "-o", "jsonpath={.items[*].metadata.uid}")
        seen.update(found.split())
        return bool(service.task(task_id)["is_final"])

    assert eventually(is_over, within_s=240), service.task(task_id)
    ended = service.task(task_id)
    assert ended["state"] == "succeeded", ended["error"]
    assert seen == {uid}, "the program was run twice"
    assert eventually(lambda: jobs() == [])


def doctor_in_the_workers_pod_finds_all_it_needs() -> None:
    command = [CLUSTER, "kubectl", "-n", "autoscorer", "exec", "deployment/autoscorer-worker", "--"]
    done = subprocess.run(
        [*map(str, command), "autoscorer", "doctor", "--backend", "k8s", "--json"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    data = json.loads(done.stdout)["data"]
    # The test cluster has no network plug-in, and doctor sees it.
    assert data["failing"] == ["NetworkPolicy is enforced"]
    assert any("reached another pod" in row["detail"] for row in data["probes"]), data["probes"]


ACCESS = [
    ("autoscorer-worker", "create", "jobs.batch", "autoscorer-jobs", "yes"),
    ("autoscorer-api", "delete", "jobs.batch", "autoscorer-jobs", "yes"),
    ("autoscorer-api", "create", "jobs.batch", "autoscorer-jobs", "no"),
    ("autoscorer-api", "create", "pods", "autoscorer-jobs", "no"),
    ("autoscorer-worker", "get", "secrets", "autoscorer-jobs", "no"),
    ("autoscorer-worker", "get", "secrets", "autoscorer", "no"),
    ("autoscorer-worker", "create", "pods", "autoscorer", "no"),
    ("autoscorer-worker", "list", "nodes", "autoscorer-jobs", "no"),
]


def an_account_may_what_it_needs_and_nothing_else() -> None:
    for account, verb, what, namespace, may in ACCESS:
        asked = (verb, what, "-n", namespace, "--as", f"system:serviceaccount:autoscorer:{account}")
        done = subprocess.run(
            [str(CLUSTER), "kubectl", "auth", "can-i", *asked], capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == may, (asked, done.stderr)


TOO_NEW = {"PodDisruptionBudget", "HorizontalPodAutoscaler"}  # in the versions of 1.25 and later


def the_cluster_takes_every_object_of_the_production_overlay(folder: Path) -> None:
    """As far as 1.20 knows their kinds; its kubectl takes `bases` and no folder under `resources`."""
    overlay = yaml.safe_load((OVERLAY.parent / "production" / "kustomization.yaml").read_text())
    root = OVERLAY.parent.parent
    overlay["resources"] = []
    overlay["bases"] = [os.path.relpath(root / name, folder) for name in ("base", "postgres")]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    objects = [*yaml.safe_load_all(kubectl("kustomize", folder))]
    for name in ("disruption", "scaling"):
        objects += yaml.safe_load_all((OVERLAY.parent / "production" / f"{name}.yaml").read_text())
    known = [row for row in objects if row["kind"] not in TOO_NEW]
    assert {row["kind"] for row in objects} > TOO_NEW
    (folder / "known.yaml").write_text(yaml.safe_dump_all(known))
    told = kubectl("apply", "--dry-run=server", "-f", folder / "known.yaml").splitlines()
    assert len(told) == len(known)
    assert all("(server dry run)" in line for line in told)


def test_the_whole_service_runs_jobs_in_a_cluster(service: Service) -> None:
    """One test, because there is one service: its parts would meet in several processes."""
    try:
        a_job_submitted_over_the_api_runs_as_a_kubernetes_job(service)
        doctor_in_the_workers_pod_finds_all_it_needs()
        an_account_may_what_it_needs_and_nothing_else()
        a_worker_that_is_replaced_and_then_dies_has_its_job_taken_up_by_the_next(service)
    except BaseException:  # before the pods are gone
        print(kubectl("-n", "autoscorer", "describe", "pods"))
        print(kubectl("-n", "autoscorer", "logs", "deployment/autoscorer-api", "--tail=100"))
        raise
