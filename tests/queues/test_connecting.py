"""Over Redis one client serves all commands of a channel; every other broker is kombu's affair."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autoscorer.queues.connecting import BrokerConnection
from autoscorer.queues.redis_transport import Channel, Transport


def to(url: str) -> Any:
    return BrokerConnection(url)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://h:1/0", "redis+socket:///run/redis.sock"])
def test_redis_is_reached_by_the_transport_of_ours(url: str) -> None:
    connection = to(url)
    assert connection.get_transport_cls() is Transport
    assert connection.clone().get_transport_cls() is Transport


@pytest.mark.parametrize("url", ["amqp://h//", "sentinel://h:1/0", "memory://"])
def test_other_brokers_are_reached_by_kombus(url: str) -> None:
    assert to(url).get_transport_cls().__module__.startswith("kombu.")


class Unconnected(Channel):
    """A channel to nowhere, with pools that can be taken away."""

    def __init__(self) -> None:
        self.cut_off()

    def cut_off(self) -> None:
        self._pool = SimpleNamespace(connection_kwargs={})

    Client = staticmethod(lambda connection_pool: SimpleNamespace(connection_pool=connection_pool))

    def __del__(self, *_: Any) -> None:
        """There is nothing to close."""


def client_of(channel: Channel, given: Any = None) -> Any:
    with channel.conn_or_acquire(given) as client:
        return client


def test_a_channel_has_one_client_until_it_is_cut_off() -> None:
    channel = Unconnected()
    first = client_of(channel)
    assert client_of(channel) is first
    channel.cut_off()
    assert client_of(channel) is not first
    assert client_of(channel).connection_pool is channel.pool


def test_a_client_that_is_given_is_used() -> None:
    given = object()
    assert client_of(Unconnected(), given) is given
