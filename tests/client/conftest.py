"""A scripted server, and a client of it whose pauses take no time and are written down."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autoscorer.client import Client
from autoscorer.client.connection import Connection
from tests.client.stub import Stub, serving

TOKEN = "as_" + "s3cret" * 7 + "x"


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as stub:
        yield stub


@pytest.fixture
def pauses() -> list[float]:
    """How long the client would have waited, each time."""
    return []


@pytest.fixture
def client(stub: Stub, pauses: list[float]) -> Iterator[Client]:
    with Client(stub.url, TOKEN) as client:
        client._connection.close()
        client._connection = Connection(stub.url, TOKEN, timeout_s=10, sleep=pauses.append)
        yield client
