"""Celery's consumer, made to bear what a broker may hold: no message ends it, and it believes but an id."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.exceptions import MessageStateError

from autoscorer.queues import messages
from autoscorer.queues.messages import ForgedMessageError
from autoscorer.utils.logger import log_event

RETRY_MOST_S = 5  # how long a broker may be back before it is noticed
# What a broken message makes of Celery and kombu. As errors of the connection they cost a new connection,
# as others the process: seen with 5.6 and 5.7 for items that are no JSON object, or have no usable headers.
_BY_A_MESSAGE = (LookupError, TypeError, ValueError, AttributeError, RecursionError)


class Consumer(CeleryConsumer):  # type: ignore[misc] # Celery has no types
    """Without remote control, gossip and mingling, by which others could have tasks revoked."""

    def __init__(self, *args: Any, worker_options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        without = dict.fromkeys(("without_mingle", "without_gossip", "without_heartbeat"), True)
        super().__init__(*args, worker_options={**(worker_options or {}), **without}, **kwargs)
        self.connection_errors: tuple[type[BaseException], ...] = (
            *self.conninfo.connection_errors,
            *_BY_A_MESSAGE,
        )

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Celery's own, behind a gate that only lets through what the releaser sends."""
        accept = super().create_task_handler(*args, **kwargs)

        def on_message(message: Any) -> None:
            try:
                order = messages.read(
                    message.headers,
                    message.body,
                    content_type=message.content_type,
                    content_encoding=message.content_encoding,
                )
            except ForgedMessageError as exc:
                self._drop(message, str(exc))
                return
            message.headers = order.headers(str(uuid4()))
            message.body = order.body()
            message.properties = {}
            message._decoded_cache = None
            self._settle_for_sure(message)
            accept(message)

        return on_message

    def _drop(self, message: Any, reason: str) -> None:
        log_event("WARNING", "message_dropped", reason=reason, queue=_queue_of(message))
        message.ack_log_error(_Silent(), self.connection_errors)

    def _settle_for_sure(self, message: Any) -> None:
        """Have a failed acknowledgement cost the connection. Celery's own is a line in the log: the message
        counts as being worked on for ever, and when that has taken the last slot, nothing comes any more."""
        connections = self.restart_count

        def settle(deed: Callable[..., None], _logger: Any, errors: Any, *how: Any, **also: Any) -> None:
            try:
                deed(*how, **also)
            except MessageStateError:
                return
            except errors as exc:
                if connections == self.restart_count:
                    raise ConnectionResetError("a message could not be acknowledged") from exc

        message.ack_log_error = partial(settle, message.ack)
        message.reject_log_error = partial(settle, message.reject)

    def ensure_connected(self, conn: Any) -> Any:
        """As Celery does it, for ever, but looking every few seconds, however long the broker is away."""
        ensure = conn.ensure_connection

        def ensure_often(*args: Any, **kwargs: Any) -> Any:
            return ensure(*args, **{"interval_start": 1, "interval_max": RETRY_MOST_S, **kwargs})

        conn.ensure_connection = ensure_often
        return super().ensure_connected(conn)


class _Silent:
    """A logger for what needs no further word: the connection is lost, and Celery says so itself."""

    def critical(self, *_args: Any, **_kwargs: Any) -> None:
        return None


def _queue_of(message: Any) -> str:
    info = message.delivery_info
    return str(info.get("routing_key", ""))[:50] if isinstance(info, dict) else ""
