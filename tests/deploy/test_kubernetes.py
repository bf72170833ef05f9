"""The manifests say what the deployment guide promises; test_kubernetes_service.py applies them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscorer.executor.k8s.probes import FOR_VOLUMES, NEEDED, USEFUL
from autoscorer.settings import checks
from autoscorer.settings.kinds import parse_memory
from autoscorer.utils.config import Config

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy" / "kubernetes"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def documents(folder: str) -> Iterator[dict[str, Any]]:
    for path in sorted((DEPLOY / folder).glob("*.yaml")):
        yield from (row for row in yaml.safe_load_all(path.read_text(encoding="utf-8")) if row)


BASE = [*documents("base"), *documents("postgres")]


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = (row for row in BASE if row["kind"] == kind and row["metadata"]["name"] == name)
    return found


PODS = [row for row in BASE if row["kind"] in ("Deployment", "StatefulSet")]


@pytest.mark.parametrize("row", PODS, ids=lambda row: str(row["metadata"]["name"]))
def test_every_pod_is_of_the_restricted_level_and_says_what_it_needs(row: dict[str, Any]) -> None:
    pod = row["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["enableServiceLinks"] is False
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        assert container["securityContext"] == RESTRICTED
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
    for container in pod["containers"]:
        assert {"readinessProbe", "livenessProbe"} <= container.keys()


def test_both_namespaces_refuse_what_is_not_restricted() -> None:
    for name in ("autoscorer", "autoscorer-jobs"):
        labels = one("Namespace", name)["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_only_those_who_run_jobs_have_an_account_that_can() -> None:
    accounts = {
        row["metadata"]["name"]: row["spec"]["template"]["spec"].get("serviceAccountName") for row in PODS
    }
    assert accounts == {
        "autoscorer-api": "autoscorer-api",
        "autoscorer-worker": "autoscorer-worker",
        "postgres": None,
        "redis": None,
    }
    for name in ("redis", "postgres"):
        assert one("StatefulSet", name)["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    # No account may do anything in the service's own namespace, or in the whole cluster.
    roles = [row for row in BASE if row["kind"] in ("Role", "RoleBinding")]
    assert {row["metadata"]["namespace"] for row in roles} == {"autoscorer-jobs"}
    assert not [row for row in BASE if row["kind"].startswith("Cluster")]
    assert "create" not in {verb for *_, verb in granted("autoscorer-api")}


def granted(role: str) -> set[tuple[str, str, str, str]]:
    """(group, resource, part, verb), as `doctor` has them."""
    return {
        (group, *resource.partition("/")[::2], verb)
        for rule in one("Role", role)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_a_worker_may_what_doctor_asks_for_and_no_more() -> None:
    # And the one ConfigMap that K8S_OWNER names, which cannot be asked for without its name.
    asked = {
        *NEEDED,
        *FOR_VOLUMES,
        *USEFUL,
        ("", "resourcequotas", "", "list"),
        ("", "configmaps", "", "get"),
    }
    assert granted("autoscorer-worker") == asked


@pytest.mark.parametrize("page", ["KUBERNETES.md", "KUBERNETES.zh.md"])
def test_the_role_in_the_guide_is_the_workers(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(apiVersion: rbac.*?)```", text, re.DOTALL)
    assert yaml.safe_load(block)["rules"] == one("Role", "autoscorer-worker")["rules"]


@pytest.mark.parametrize("overlay", ["production", "test"])
def test_every_setting_that_is_given_is_one(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("as in a pod")
    monkeypatch.setattr(checks, "IN_CLUSTER_TOKEN", tmp_path / "token")
    environ: dict[str, str] = {
        "DATABASE_URL": "postgresql+psycopg://autoscorer:x@postgres:5432/autoscorer",
        "CELERY_BROKER": "redis://:x@redis:6379/0",
        "METRICS_TOKEN": "x" * 43,
    }
    for folder in ("base", f"overlays/{overlay}"):
        settings = yaml.safe_load((DEPLOY / folder / "kustomization.yaml").read_text(encoding="utf-8"))
        for row in settings["configMapGenerator"]:
            environ |= dict(text.split("=", 1) for text in row["literals"])
    config = Config("/nowhere/config.yaml", environ=environ)
    assert config.validate() == []
    assert set(environ) <= {key for key, _ in config.dump().items()}
    pod = one("Deployment", "autoscorer-worker")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > config.settings.worker_grace_s


def test_the_truth_lies_on_a_volume_that_no_job_can_mount() -> None:
    claims = [row for row in BASE if row["kind"] == "PersistentVolumeClaim"]
    assert {row["metadata"]["namespace"] for row in claims} == {"autoscorer"}


def test_production_says_how_many_of_what_the_base_has() -> None:
    rows = [row for row in documents("overlays/production") if row["kind"] != "Kustomization"]
    for row in rows:
        if row["kind"] == "HorizontalPodAutoscaler":
            target = row["spec"]["scaleTargetRef"]
            assert one(target["kind"], target["name"])["apiVersion"] == target["apiVersion"]
            assert row["spec"]["minReplicas"] >= 2
            # Whatever number stood there would be set again by every `kubectl apply`.
            assert "replicas" not in one(target["kind"], target["name"])["spec"]
        else:
            labels = row["spec"]["selector"]["matchLabels"]
            template = one("Deployment", row["metadata"]["name"])["spec"]["template"]
            assert labels.items() <= template["metadata"]["labels"].items()
    assert [row["kind"] for row in rows].count("PodDisruptionBudget") == 2


@pytest.mark.parametrize(("name", "scores_at_once"), [("worker", None), ("api", 2)])
def test_scores_meet_their_own_memory_limit_before_the_pods(name: str, scores_at_once: int | None) -> None:
    (config,) = (row for row in yaml.safe_load_all((DEPLOY / "base" / "kustomization.yaml").read_text()))
    given = dict(text.split("=", 1) for text in config["configMapGenerator"][0]["literals"])
    given |= {"K8S_API": "https://cluster.example", "K8S_TOKEN": "t"}
    settings = Config("/nowhere", environ=given).settings
    container = one("Deployment", f"autoscorer-{name}")["spec"]["template"]["spec"]["containers"][0]
    limit = parse_memory(container["resources"]["limits"]["memory"])
    scores = scores_at_once or settings.worker_slots
    assert limit >= scores * settings.scorer_memory_bytes + 400 * 2**20


def test_a_password_with_an_apostrophe_comes_through_whole(tmp_path: Path) -> None:
    url, told = "postgresql://u:it's@'db/x", tmp_path / "told.yaml"
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        '#!/bin/sh\ncase "$*" in *"get secret"*) exit 1;; *"create -f -"*) cat; echo ---;; esac >> "$TOLD"\n'
    )
    kubectl.chmod(0o755)
    environ = {**os.environ, "KUBECTL": str(kubectl), "TOLD": str(told), "DATABASE_URL": url}
    subprocess.run([str(DEPLOY / "secrets")], env=environ, check=True, stdout=subprocess.DEVNULL)
    kept = {row["metadata"]["name"]: row["stringData"] for row in yaml.safe_load_all(told.read_text()) if row}
    assert kept["autoscorer"]["DATABASE_URL"] == url
    assert len(kept["autoscorer-databases"]["POSTGRES_PASSWORD"]) == 43
