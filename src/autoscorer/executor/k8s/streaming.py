"""The transport *stream* through the API server: commands in the sidecar container of an attempt's pod."""

from __future__ import annotations

from autoscorer.executor.k8s.client import Cluster, RefusedError, UnreachableError, said
from autoscorer.executor.k8s.commands import RemoteCommand
from autoscorer.executor.k8s.naming import SIDECAR
from autoscorer.executor.streaming.transfer import Sidecar


def sidecar_of(cluster: Cluster, pod: str) -> Sidecar:
    """The sidecar of that pod."""
    return Sidecar(
        run=lambda command, *, takes_input: RemoteCommand(
            cluster, pod, SIDECAR, command, takes_input=takes_input
        ),
        lost=(RefusedError, UnreachableError),
        said=said,
    )
