"""Every object we give to a cluster is one, to the letter, in the oldest and newest version of the schemas.

The cluster of the tests is of 1.20: there, test_kubernetes_service.py applies them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy" / "kubernetes"
GOLDEN = ROOT / "tests" / "golden"
VERSIONS = sorted({(1, 25), tuple(map(int, kubernetes_validate.latest_version().split(".")[:2]))})


def deployed() -> Iterator[dict[str, Any]]:
    for folder in ("base", "postgres", "overlays/production"):
        for path in sorted((DEPLOY / folder).glob("*.yaml")):
            rows = yaml.safe_load_all(path.read_text(encoding="utf-8"))
            yield from (row for row in rows if row and row["kind"] != "Kustomization")


def made_for_a_job() -> Iterator[dict[str, Any]]:
    """What tests/executor/k8s/test_manifest.py holds the code to."""
    for path in sorted(GOLDEN.glob("k8s_*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        yield from (row for row in (found, *found.values()) if isinstance(row, dict) and "kind" in row)


OBJECTS = [*deployed(), *made_for_a_job()]


def test_both_sources_have_objects() -> None:
    kinds = {row["kind"] for row in OBJECTS}
    assert {"Job", "NetworkPolicy", "PersistentVolumeClaim"} <= {row["kind"] for row in made_for_a_job()}
    assert {"Deployment", "StatefulSet", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Role"} <= kinds


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: "{}.{}".format(*version))
def test_an_object_is_what_that_version_takes(version: tuple[int, int]) -> None:
    for row in OBJECTS:
        kubernetes_validate.validate(row, "{}.{}".format(*version), strict=True)


def test_a_misspelt_field_is_found() -> None:
    job = next(row for row in OBJECTS if row["kind"] == "Job")
    pod = job["spec"]["template"]["spec"]
    wrong = job | {"spec": job["spec"] | {"template": {"spec": pod | {"hostnetwork": True}}}}
    with pytest.raises(kubernetes_validate.ValidationError, match="hostnetwork"):
        kubernetes_validate.validate(wrong, "1.25", strict=True)
