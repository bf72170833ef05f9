"""The client: one service, one token, every call."""

from __future__ import annotations

from autoscorer.client.administration import AdministrationCalls
from autoscorer.client.connection import Connection
from autoscorer.client.jobs import JobCalls
from autoscorer.utils.closing import Closing


class Client(Closing, JobCalls, AdministrationCalls):
    """The service at ``url`` as the holder of ``token`` sees it. Safe to use from several threads.

    Every call raises AutoscorerError: what the service says is wrong, or SERVICE_UNREACHABLE when it is
    away, too slow (``timeout_s`` for an answer) or no AutoScorer. What is safe to repeat is repeated when a
    passing fault is the reason, as long as the service asks to wait for. Proxies and certificates that the
    environment names are used with ``trust_env`` only.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = 30.0, trust_env: bool = False) -> None:
        self._connection = Connection(url, token, timeout_s=timeout_s, trust_env=trust_env)

    def __repr__(self) -> str:
        return f"Client({self._connection.url!r})"

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._connection.url

    def close(self) -> None:
        """End its connections. Safe to call twice."""
        self._connection.close()
