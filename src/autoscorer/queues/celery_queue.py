"""The queue over Celery's broker: a message is a job's id, and the store decides when one goes out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar
from uuid import uuid4

from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from autoscorer.queues.celery_options import celery_options
from autoscorer.queues.connecting import Messaging
from autoscorer.queues.messages import CONTENT_ENCODING, CONTENT_TYPE, Order
from autoscorer.queues.releasing import Broker, BrokerLostError, Releaser
from autoscorer.store.base import Store
from autoscorer.store.records import Job
from autoscorer.utils.config import Settings

T = TypeVar("T")


def make_app(settings: Callable[[], Settings]) -> Celery:
    """Celery's application; ``settings`` is asked when they are first needed, not before."""
    app = Celery("autoscorer", amqp=Messaging, set_as_current=False, fixups=[])
    app.add_defaults(lambda: celery_options(settings()))
    return app


class CeleryQueue:
    """`base.Queue` and `base.Tended`: announces by having jobs released."""

    def __init__(self, store: Store, broker: Broker) -> None:
        self._releaser = Releaser(store, broker)

    def announce(self, job: Job) -> None:
        """Have jobs of its queue released soon, this one in its turn. Never waits for the broker."""
        self._releaser.ring(job.queue)

    def tend(self) -> None:
        """See `base.Tended`."""
        self._releaser.tend()


class CeleryBroker:
    """`releasing.Broker` over Celery, by one connection that is thrown away at the first fault.

    Not by kombu's pool: a connection of it that was cut while in use is given out again and again, each
    time with an AttributeError (seen with 5.7).
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._turn = threading.Lock()
        self._connection: Connection | None = None

    def send(self, job: Job) -> None:
        """Send a task named like the job's action, with the job's id and nothing else.

        As `messages.read` takes it. Celery's `send_task` adds headers that no worker believes, and takes
        0.1 ms longer *(measured)*.
        """
        order, message_id = Order(action=job.action, task_id=job.task_id), str(uuid4())

        def publish(connection: Connection) -> None:
            self._app.amqp.Producer(connection, auto_declare=False).publish(
                order.body(),
                headers=order.headers(message_id),
                content_type=CONTENT_TYPE,
                content_encoding=CONTENT_ENCODING,
                correlation_id=message_id,
                delivery_mode="persistent",
                exchange="",
                routing_key=job.queue,
                declare=[self._app.amqp.queues[job.queue]],
                retry=False,
            )

        self._asked(publish)

    def waiting(self, queue: str) -> int:
        """What the broker says of the queue; one that it does not know holds nothing."""

        def count(connection: Connection) -> int:
            with connection.channel() as channel:
                try:
                    return int(channel.queue_declare(queue=queue, passive=True).message_count)
                except connection.channel_errors:
                    return 0

        return self._asked(count)

    def close(self) -> None:
        """Hang up. Safe to call twice; the next call connects again."""
        with self._turn:
            self._hang_up()

    def _asked(self, call: Callable[[Connection], T]) -> T:
        """What ``call`` answers; a connection of before may be stale, so then a new one is tried."""
        with self._turn:
            if self._connection is not None:
                with suppress(BrokerLostError):
                    return self._once(self._connection, call)
            self._connection = self._app.connection_for_write()
            return self._once(self._connection, call)

    def _once(self, connection: Connection, call: Callable[[Connection], T]) -> T:
        lost = (OperationalError, OSError, AttributeError)
        try:
            return call(connection)
        except (*lost, *connection.connection_errors, *connection.channel_errors) as exc:
            self._hang_up()
            raise BrokerLostError(f"{type(exc).__name__}: the broker did not answer") from exc

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError, AttributeError, *connection.connection_errors):
                connection.close()
