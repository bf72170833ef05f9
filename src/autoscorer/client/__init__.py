"""The service from Python: `Client`, for integrators and for our own command line.

    from autoscorer.client import Client
    with Client("http://127.0.0.1:8000", token) as client:
        result = client.pipeline("examples/classification")

Needs the extra `client` (httpx). Whatever goes wrong is an `AutoscorerError`, with the service's code, cause
and blame; a service that does not answer is SERVICE_UNREACHABLE.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoscorer.client.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from autoscorer.client.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
