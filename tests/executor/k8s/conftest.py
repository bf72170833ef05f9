"""A claim of the test cluster whose volume is a folder of this machine, which is the node."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscorer.executor.k8s import waiting
from autoscorer.executor.k8s.client import connect
from tests.executor.attempts import eventually
from tests.executor.k8s.pods import needs_this_machine_as_node, settings
from tests.executor.k8s.produced import Judged


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Judged:
    """Hears which rows of the table of verdicts matched."""
    heard = Judged()
    monkeypatch.setattr(waiting, "judge", heard.judge)
    return heard


@pytest.fixture
def claim_here(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of the transport *bind* for workspaces below ``tmp_path``.

    Skipped on a cluster whose nodes do not see our files.
    """
    needs_this_machine_as_node()
    for folder in (tmp_path, *tmp_path.parents):  # pytest's are nobody else's
        if folder.stat().st_uid == os.geteuid() and len(folder.parts) > 2:
            folder.chmod(folder.stat().st_mode | 0o011)
    name = f"autoscorer-test-{uuid.uuid4().hex[:12]}"
    size = {"storage": "1Gi"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": size,
            "accessModes": ["ReadWriteMany"],
            "storageClassName": name,
            "hostPath": {"path": str(tmp_path)},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": name,
            "resources": {"requests": size},
            "volumeName": name,
        },
    }
    with connect(settings(tmp_path)) as cluster:
        path = cluster.path("persistentvolumeclaims")
        cluster.call("POST", "/api/v1/persistentvolumes", body=volume)
        cluster.call("POST", path, body=claim)
        try:
            assert eventually(lambda: cluster.call("GET", f"{path}/{name}")["status"]["phase"] == "Bound")
            yield {
                "K8S_TRANSPORT": "bind",
                "K8S_WORKSPACE_CLAIM": name,
                "K8S_WORKSPACE_MOUNT": str(tmp_path),
            }
        finally:
            cluster.call("DELETE", f"{path}/{name}")
            cluster.call("DELETE", f"/api/v1/persistentvolumes/{name}")
