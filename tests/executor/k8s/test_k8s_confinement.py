"""A pod prints its own confinement on a real cluster; field by field it is what the golden file says.

What hangs on the node (a process limit, its descriptors, interfaces and OOM scores) is left out; so is the
size of a file system in memory, half of what the node has before 1.22: what is in it is the pod's memory, as
the attack "/dev/shm and /tmp as memory" finds. The control is Docker's: the same program in a plain container
finds most of it open.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.executor.docker.test_confinement import MIB, PRINT_CONFINEMENT, confinement
from tests.executor.k8s.pods import pod_plan, run_pod

pytestmark = [pytest.mark.k8s, pytest.mark.slow]
GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "k8s_confinement.json"
THE_NODES = {"open_files", "core_bytes", "processes", "oom_score_adj", "interfaces", "routes", "localhost"}
THE_NODES |= {"tmp_bytes", "shm_bytes"}


@pytest.mark.parametrize("transport", ["stream", "bind"])
def test_a_pod_is_confined_as_the_golden_file_says(
    tmp_path: Path, transport: str, request: pytest.FixtureRequest
) -> None:
    volume: dict[str, Any] = {}
    if transport == "bind":
        given = request.getfixturevalue("claim_here")
        volume = {
            "k8s_transport": "bind",
            "k8s_workspace_claim": given["K8S_WORKSPACE_CLAIM"],
            "k8s_workspace_mount": Path(given["K8S_WORKSPACE_MOUNT"]),
        }
    plan = pod_plan(tmp_path, PRINT_CONFINEMENT, cpu_cores=0.15, memory_bytes=128 * MIB, shm_bytes=8 * MIB)
    ran = run_pod(plan, **volume)
    assert ran.code is None, ran.log
    found = {key: value for key, value in confinement(ran.log.decode()).items() if key not in THE_NODES}
    # The address of the API server is told to every pod; it is no secret, and no token goes with it.
    names = [name for name in found["environment"].split() if not name.startswith("KUBERNETES_")]
    found["environment"] = " ".join(names)
    if os.environ.get("UPDATE_GOLDEN") and not volume:
        GOLDEN.write_text(json.dumps(found, indent=2) + "\n")
    # On a claim, input/ is a mount of its own; else it is part of /workspace, which is read-only as a whole.
    of_transport = {"mount /workspace/input": "ro" if volume else ""}
    assert found == json.loads(GOLDEN.read_text()) | of_transport
