"""What a worker has taken over Redis it alone knows; what it gives back is as it came."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import kombu
import pytest

from autoscorer.queues.connecting import BrokerConnection
from autoscorer.queues.redis_transport import Channel
from tests.celery_app.redis import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.redis]
KOMBU: Any = kombu  # it has no types
CONNECT: Any = BrokerConnection
QUEUE = KOMBU.Queue("cpu", exchange="", routing_key="cpu")


def sent(connection: Any, *bodies: str) -> None:
    with connection.Producer() as producer:
        for body in bodies:
            producer.publish(
                body, exchange="", routing_key="cpu", content_type="text/plain", content_encoding="utf-8"
            )


def taken(connection: Any, number: int) -> list[Any]:
    messages: list[Any] = []
    consumer = KOMBU.Consumer(connection.default_channel, queues=[QUEUE], on_message=messages.append)
    consumer.qos(prefetch_count=number)
    consumer.consume()
    while len(messages) < number:
        connection.drain_events(timeout=10)
    return messages


@pytest.mark.parametrize("noted", [False, True])  # the second is the control, kombu's own
def test_redis_is_not_told_what_a_worker_has_taken(
    broker: RedisServer, monkeypatch: pytest.MonkeyPatch, noted: bool
) -> None:
    monkeypatch.setattr(Channel, "ack_emulation", noted)
    with CONNECT(broker.url) as connection:
        sent(connection, "one")
        (message,) = taken(connection, 1)
        assert broker.call("HLEN", "unacked") == int(noted)
        message.ack()
    assert broker.messages() == broker.call("HLEN", "unacked") == 0


def test_what_was_not_acknowledged_goes_back_as_it_came(broker: RedisServer) -> None:
    with CONNECT(broker.url) as connection:
        sent(connection, "one", "two", "three")
        before = [json.loads(item) for item in broker.call("LRANGE", "cpu", "0", "-1")]
        one, two, _ = messages = taken(connection, 3)
        for message in messages:  # as `celery_app.consumer` does
            message.body, message.headers, message.properties = "changed", {}, {}
        one.ack()
        two.reject(requeue=True)
    after = [json.loads(item) for item in broker.call("LRANGE", "cpu", "0", "-1")]
    for item in (*before, *after):  # kombu says that it was delivered before
        item["headers"].pop("redelivered", None)
        item["properties"]["delivery_info"].pop("redelivered", None)
    assert len(before) == 3
    assert sorted(map(str, after)) == sorted(map(str, before[:2]))


def test_what_cannot_be_put_back_is_left_to_the_store(
    broker: RedisServer, capfd: pytest.CaptureFixture[str]
) -> None:
    connection = CONNECT(broker.url)
    sent(connection, "one")
    taken(connection, 1)
    broker.kill()
    connection.close()  # raises nothing, and kombu's own would tell where it has written it
    assert "EMERGENCY" not in capfd.readouterr().err
    broker.start()
    assert broker.messages() == 0


def test_one_that_was_put_back_with_its_connection_may_be_rejected(broker: RedisServer) -> None:
    """A slot may do so while the line is being closed."""
    with CONNECT(broker.url) as connection:
        sent(connection, "one")
        (message,) = taken(connection, 1)
        connection.default_channel.close()
        message.reject(requeue=True)
        assert broker.messages() == 1


def test_a_broker_that_stands_still_is_waited_for_once(broker: RedisServer) -> None:
    wait_s = 0.5
    connection = CONNECT(broker.url, transport_options={"socket_timeout": wait_s, "max_retries": 1})
    sent(connection, *map(str, range(6)))
    taken(connection, 6)
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        connection.default_channel.close()
        assert time.monotonic() - began < 4 * wait_s
    finally:
        broker.process.send_signal(signal.SIGCONT)
    connection.close()
