"""The network of job pods: one policy of the namespace that lets nothing in and nothing out."""

from __future__ import annotations

from typing import Any

from autoscorer.executor.k8s.naming import LABEL_NETWORK, MANAGED_BY, OURS

POLICY_NAME = "autoscorer-jobs-no-network"


def deny_all() -> dict[str, Any]:
    """For every pod of ours without a network; a named network is what the operator's own policies allow."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": POLICY_NAME, "labels": {MANAGED_BY: OURS}},
        "spec": {
            "podSelector": {"matchLabels": {MANAGED_BY: OURS, LABEL_NETWORK: "none"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [],
        },
    }
