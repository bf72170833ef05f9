"""How messages are given back to a broker: as Celery asks, and a failure costs the connection, not a slot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from celery_app.consumer import Consumer
from celery_app.tap import Tap


def settled(deeds: list[Any], *, error: Exception | None = None) -> Any:
    """A message whose acknowledgements go through our consumer."""

    def deed(name: str) -> Any:
        def does(*how: Any, **also: Any) -> None:
            deeds.append((name, how, also))
            if error is not None:
                raise error

        return does

    message = SimpleNamespace(ack=deed("ack"), reject=deed("reject"))
    Consumer._settle_for_sure(cast("Consumer", SimpleNamespace(restart_count=0)), message)
    return message


def test_a_message_is_put_back_if_celery_says_so_and_however_it_says_it() -> None:
    deeds: list[Any] = []
    message = settled(deeds)
    message.reject_log_error(None, (OSError,), True)  # noqa: FBT003 - as Celery calls it
    message.reject_log_error(None, (OSError,), requeue=True)
    message.ack_log_error(None, (OSError,))
    assert deeds == [("reject", (True,), {}), ("reject", (), {"requeue": True}), ("ack", (), {})]


def test_what_cannot_be_acknowledged_costs_the_connection() -> None:
    message = settled([], error=BrokenPipeError())
    with pytest.raises(ConnectionResetError):
        message.ack_log_error(None, (OSError,))


class Queues:
    """As `Celery.amqp.queues`, what of it a tap uses."""

    def __init__(self) -> None:
        self.selected = {"cpu", "gpu"}

    def select(self, names: tuple[str, ...]) -> None:
        self.selected |= set(names)

    def deselect(self, names: tuple[str, ...]) -> None:
        self.selected -= set(names)


def test_a_tap_is_moved_before_there_is_a_consumer_too() -> None:
    queues = Queues()
    controller = SimpleNamespace(app=SimpleNamespace(amqp=SimpleNamespace(queues=queues)))
    tap = Tap(controller, ["cpu"])
    tap.close()
    tap.close()
    assert queues.selected == {"gpu"}
    tap.open()
    assert queues.selected == {"cpu", "gpu"}
