"""Which of kombu's transports a connection to the broker takes."""

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP
from kombu.connection import Connection

_REDIS = ("kombu.transport.redis", "Transport")


class BrokerConnection(Connection):
    """kombu's, but over Redis by the transport of ours, however the broker's address is written."""

    def get_transport_cls(self) -> Any:
        found = super().get_transport_cls()  # type: ignore[no-untyped-call]
        if (found.__module__, found.__name__) != _REDIS:
            return found
        from autoscorer.queues.redis_transport import Transport  # another broker needs no redis

        return Transport


class Messaging(AMQP):  # type: ignore[misc] # Celery has no types
    """What Celery asks for its connections."""

    Connection = BrokerConnection
