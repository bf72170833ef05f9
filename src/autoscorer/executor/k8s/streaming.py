"""The transport *stream* through the API server: commands in the helper container of an attempt's pod."""

from __future__ import annotations

from autoscorer.executor.k8s.client import Cluster, RefusedError, UnreachableError, said
from autoscorer.executor.k8s.commands import RemoteCommand
from autoscorer.executor.k8s.naming import HELPER
from autoscorer.executor.streaming.transfer import Helper


def helper_of(cluster: Cluster, pod: str) -> Helper:
    """The helper of that pod."""
    return Helper(
        run=lambda command, *, takes_input: RemoteCommand(
            cluster, pod, HELPER, command, takes_input=takes_input
        ),
        lost=(RefusedError, UnreachableError),
        said=said,
    )
