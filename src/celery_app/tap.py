"""Where a worker's messages come from, to be closed and opened again while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Tap:
    """The queues of a Celery worker. Closed, it stays so when the connection is made anew."""

    def __init__(self, controller: Any, queues: Sequence[str]) -> None:
        self._controller = controller
        self._queues = tuple(queues)

    def close(self) -> None:
        """Take no more messages. Safe from any thread, and to call twice."""
        self._soon(self._close, self._deselect)

    def open(self) -> None:
        """Take messages again. Safe from any thread, and to call twice."""
        self._soon(self._open, lambda: self._controller.app.amqp.queues.select(self._queues))

    def _soon(self, do: Callable[[], None], before: Callable[[], None]) -> None:
        """A worker that only starts has no consumer yet, and makes one of the queues that are selected."""
        consumer = getattr(self._controller, "consumer", None)
        if consumer is None:
            before()
        else:
            consumer.call_soon(do)

    def _deselect(self) -> None:
        self._controller.app.amqp.queues.deselect(self._queues)

    def _close(self) -> None:
        self._deselect()
        consumer = self._controller.consumer.task_consumer
        if consumer is not None:
            for queue in self._queues:
                consumer.cancel_by_queue(queue)

    def _open(self) -> None:
        known = self._controller.app.amqp.queues
        known.select(self._queues)
        consumer = self._controller.consumer.task_consumer
        if consumer is not None:
            for queue in self._queues:
                consumer.add_queue(known[queue])
            consumer.consume()
